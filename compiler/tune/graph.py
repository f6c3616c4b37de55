"""Chooses algorithms of graph passes, all choices of a kind at once.

The model is lowered some times, with a random option of every choice each time, and measured beside the model as it is.
A kernel belongs to that option which was taken in just those lowerings that have the kernel. So a few lowerings say how
fast the kernels of all options are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..build.cache import Cache
from ..kernels.rule import Decision
from ..passes.choices import Choice
from ..pipeline import Lowered
from .boards import Times
from .fleet import Fleet
from .records import CHOICE, Record
from .samples import known_sample, records_of_sample
from .subject import Subject, whole_model
from .trials import Settings, time_subjects

_MOST_SAMPLES = 12
_MOST_DRAWN = 20  # with those that crash
_DRAWS = 50
_LEAST_GAIN = 0.03  # of the time of a choice's kernels; less is not told from noise

Option = tuple[str, int]  # a choice's key, and what it may be


@dataclass(frozen=True)
class Sample:
    """The model with choices made at random, measured beside the model as it is.

    Attributes:
        taken: the options.
        seconds: of all calls of each of its kernels, by workload.
        base: those of the model as it is.
        rounds: behind these medians.
    """

    taken: Mapping[str, int]
    seconds: Mapping[str, float]
    base: Mapping[str, float]
    rounds: int


def choose(
    lowered: Lowered,
    subject: Subject,
    lower: Callable[[Mapping[str, int]], Lowered],
    settings: Settings,
    fleet: Fleet,
    cache: Cache | None,
    deadline: float,
    known: Sequence[Record] = (),
) -> Iterator[tuple[list[Record], dict[str, Record]]]:
    """For each kind of choices, records of what was measured, and of the best options, by choice.

    Args:
        lowered: the model as it is.
        subject: the same.
        lower: the model with choices made otherwise than it is.
        deadline: on time.perf_counter's clock.
        known: of earlier sessions; what they measured is not measured again.
    """
    best: dict[str, int] = {}
    found: dict[str, Record] = {}
    kinds = list(dict.fromkeys(choice.kind for choice in lowered.choices.values()))
    for kind in kinds:
        if found:  # of the kind before
            lowered = lower(best)
            subject = whole_model(lowered, settings.target, cache)
        choices = {key: choice for key, choice in lowered.choices.items() if choice.kind == kind}
        samples: list[Sample] = []
        taken = [{key: choice.taken for key, choice in choices.items()}]
        begin, took, news, number = time.perf_counter(), 0.0, False, 0
        while (drawn := _draw(choices, taken, number)) is not None and begin + took < deadline:
            number += 1  # so that options that crash together are not drawn again
            other = whole_model(lower({**best, **drawn}), settings.target, cache)
            workloads = other.workloads, subject.workloads
            measured = known_sample(*workloads, known)
            if measured is None:
                times = time_subjects([subject, other], settings, fleet, cache)
                if times is not None and not times[0].heat.throttled:
                    measured = _seconds(other, times[1]), _seconds(subject, times[0]), len(times[0].seconds)
                    news = True
                    yield records_of_sample(measured, *workloads, settings, fleet.threads), {}
            if measured is not None:
                samples.append(Sample(drawn, *measured))
                taken.append(drawn)
            begin, took = time.perf_counter(), time.perf_counter() - begin
        records, found = _best_options(choices, samples, settings, fleet.threads)
        yield records if news else [], found
        best |= {key: record.decision.parameters["value"] for key, record in found.items() if record.decision}


def _draw(choices: Mapping[str, Choice], taken: Sequence[Mapping[str, int]], number: int) -> dict[str, int] | None:
    """An option of every choice, which tells as many options apart as some draws can; None if all have been.

    Args:
        taken: in the models that were measured.
        number: of this draw.
    """
    options = sum(len(choice.options) for choice in choices.values())
    if len(taken) > _MOST_SAMPLES or number > _MOST_DRAWN or _told_apart(choices, taken) == options:
        return None
    rng = random.Random(number)
    draws = [{key: rng.choice(choice.options) for key, choice in choices.items()} for _ in range(_DRAWS)]
    return max(draws, key=lambda draw: _told_apart(choices, [*taken, draw]))


def _told_apart(choices: Mapping[str, Choice], taken: Sequence[Mapping[str, int]]) -> int:
    """How many options were taken, and not always together with another."""
    return sum(len(alike) == 1 and any(pattern) for pattern, alike in _patterns(choices, taken).items())


def _patterns(
    choices: Mapping[str, Choice], taken: Sequence[Mapping[str, int]]
) -> dict[tuple[bool, ...], list[Option]]:
    """Options by which of the models take them."""
    found: dict[tuple[bool, ...], list[Option]] = {}
    for key, choice in choices.items():
        for value in choice.options:
            found.setdefault(tuple(one[key] == value for one in taken), []).append((key, value))
    return found


def _seconds(subject: Subject, times: Times) -> dict[str, float]:
    """Medians, by workload."""
    return {workload.key: float(np.median(times.of(workload.steps))) for workload in subject.workloads}


def _best_options(
    choices: Mapping[str, Choice], samples: Sequence[Sample], settings: Settings, threads: int
) -> tuple[list[Record], dict[str, Record]]:
    """What the samples say: a record of every option whose kernels are known, and, by choice, of the best ones."""
    kernels = _kernels_of_options(choices, samples)
    records: list[Record] = []
    best: dict[str, Record] = {}
    for key, choice in choices.items():
        before = kernels.get((key, choice.taken))
        for value in choice.options:
            after = kernels.get((key, value))
            found = [one for one in samples if one.taken[key] == value]
            if value == choice.taken or not before or not after or not found:
                continue
            bases = [sum(one.base[kernel] for kernel in before) for one in found]
            ratios = [
                sum(one.seconds[kernel] for kernel in after) / base for one, base in zip(found, bases, strict=True)
            ]
            base, ratio = float(np.median(bases)), float(np.median(ratios))
            record = Record(
                kind="trial",
                workload=key,
                work={"family": CHOICE, "text": choice.text[:200]},
                target=settings.target.name,
                fingerprint=settings.target.fingerprint,
                decision=Decision(CHOICE, {"value": value}),
                seconds=base * ratio,
                spread=base * float(np.ptp(ratios)) / 2,
                base=base,
                rounds=sum(one.rounds for one in found),
                threads=threads,
            )
            records.append(record)
            if ratio < 1 - _LEAST_GAIN and (key not in best or ratio < best[key].ratio):
                best[key] = record
    return records, best


def _kernels_of_options(choices: Mapping[str, Choice], samples: Sequence[Sample]) -> dict[Option, list[str]]:
    """The workloads that the model has if, and only if, an option is taken; of those options that were told apart."""
    usual = {key: choice.taken for key, choice in choices.items()}
    options = _patterns(choices, [usual, *(one.taken for one in samples)])
    models = [samples[0].base, *(one.seconds for one in samples)] if samples else []
    found: dict[Option, list[str]] = {}
    for kernel in dict.fromkeys(kernel for model in models for kernel in model):
        alike = options.get(tuple(kernel in model for model in models), [])
        if len(alike) == 1:
            found.setdefault(alike[0], []).append(kernel)
    return found
