"""Chooses algorithms of graph passes, all choices of a kind at once.

The model is lowered some times, with a random option of every choice each time, and measured beside the model as it is.
How often each of them calls a kernel tells which options the kernel belongs to: mostly one, which was taken in just
those lowerings that have the kernel. So a few lowerings say how fast the kernels of all options are.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..build.cache import Cache
from ..build.objects import one_compiler
from ..kernels.rule import Decision
from ..passes.choices import Choice
from ..pipeline import Lowered
from .boards import Times
from .fleet import Fleet
from .records import CHOICE, Record
from .samples import calls_of, known_sample, records_of_sample
from .subject import Subject, whole_model
from .trials import Settings, time_subjects

_MOST_SAMPLES = 12
_MOST_DRAWN = 20  # with those that crash
_DRAWS = 50
_LEAST_SHARE = 0.001  # of the model's time; what a kernel with less belongs to matters not
_MOST_OPTIONS = 3  # that share a kernel
_MOST_TRIED = 3000  # sets of so many
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
        calls: of each of its kernels.
        base_calls: those of the model as it is.
    """

    taken: Mapping[str, int]
    seconds: Mapping[str, float]
    base: Mapping[str, float]
    rounds: int
    calls: Mapping[str, int]
    base_calls: Mapping[str, int]

    def seconds_of(self, calls: Mapping[str, int]) -> float:
        """Of so many calls of its kernels; 0 if the time of one is not known."""
        return _seconds_of(calls, self.seconds, self.calls)

    def share_of(self, kernel: str) -> float:
        """Of the model's time, the kernel's in that of the two models which spends more on it."""
        return max(self.seconds.get(kernel, 0.0), self.base.get(kernel, 0.0)) / sum(self.base.values())

    def base_seconds_of(self, calls: Mapping[str, int]) -> float:
        """The same for the model as it is."""
        return _seconds_of(calls, self.base, self.base_calls)


@dataclass(frozen=True)
class Step:
    """What measuring a model, or deciding a kind of choices, brought.

    Attributes:
        records: for the log.
        best: of the options that are faster than those that are taken, by choice.
        models: that were measured beside the model as it is, until now.
        seconds: of the model with what was chosen of the kinds before; 0 while it was not measured.
    """

    records: Sequence[Record]
    best: Mapping[str, Record]
    models: int
    seconds: float


def choose(
    lowered: Lowered,
    subject: Subject,
    lower: Callable[[Mapping[str, int]], Lowered],
    settings: Settings,
    fleet: Fleet,
    cache: Cache | None,
    deadline: float,
    known: Sequence[Record] = (),
) -> Iterator[Step]:
    """Measures models with other choices than the model makes, one kind of choices after the other.

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
    models, seconds = 0, 0.0

    def make(drawn: Mapping[str, int]) -> Subject:
        return whole_model(lower({**best, **drawn}), settings.target, cache)

    for kind in kinds:
        if found:  # of the kind before
            lowered = lower(best)
            subject, seconds = whole_model(lowered, settings.target, cache), 0.0
        choices = {key: choice for key, choice in lowered.choices.items() if choice.kind == kind}
        samples: list[Sample] = []
        news = False
        for drawn, other in _models(choices, samples, make, fleet.leaves_cores, deadline):
            workloads = other.workloads, subject.workloads
            measured = known_sample(*workloads, known)
            records: Sequence[Record] = ()
            if measured is None:
                times = time_subjects([subject, other], settings, fleet, cache)
                if times is None or times[0].heat.throttled:
                    continue
                measured = _seconds(other, times[1]), _seconds(subject, times[0]), len(times[0].seconds)
                records, news = records_of_sample(measured, *workloads, settings, fleet.threads), True
                models, seconds = models + 1, sum(measured[1].values())
            samples.append(Sample(drawn, *measured, *map(calls_of, workloads)))
            yield Step(records, {}, models, seconds)
        records, found = _best_options(choices, samples, settings, fleet.threads)
        best |= {key: record.decision.parameters["value"] for key, record in found.items() if record.decision}
        yield Step(records if news else (), found, models, seconds)


def _models(
    choices: Mapping[str, Choice],
    samples: Sequence[Sample],
    make: Callable[[Mapping[str, int]], Subject],
    ahead: bool,
    deadline: float,
) -> Iterator[tuple[dict[str, int], Subject]]:
    """Options of all choices, and the model that takes them, until enough is known or the deadline is too near.

    Args:
        samples: of the models measured so far, which grow meanwhile.
        make: the model with some options.
        ahead: whether the next model is made while one is measured.
    """
    usual = {key: choice.taken for key, choice in choices.items()}
    numbers = itertools.count()  # of draws, so that options that crash together are not drawn again
    took = 0.0
    with one_compiler() as compiler:

        def begin(*unmeasured: dict[str, int]) -> tuple[dict[str, int], Future[Subject]] | None:
            drawn = _draw(choices, [usual, *(sample.taken for sample in samples), *unmeasured], next(numbers))
            if drawn is None or time.perf_counter() + took >= deadline:
                return None
            return drawn, compiler.submit(make, drawn)

        begun = begin()
        while begun is not None:
            start = time.perf_counter()
            drawn, model = begun[0], begun[1].result()
            begun = begin(drawn) if ahead else None
            yield drawn, model
            took = time.perf_counter() - start
            begun = begun or begin()


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
    return {one.key: one.share * float(np.median(times.of(one.steps))) for one in subject.workloads}


def _best_options(
    choices: Mapping[str, Choice], samples: Sequence[Sample], settings: Settings, threads: int
) -> tuple[list[Record], dict[str, Record]]:
    """What the samples say: a record of every option whose kernels are known, and, by choice, of the best ones."""
    calls = _calls_of_options(choices, samples)
    records: list[Record] = []
    best: dict[str, Record] = {}
    for key, choice in choices.items():
        before = calls.get((key, choice.taken))
        for value in choice.options:
            after = calls.get((key, value))
            if value == choice.taken or not before or not after:
                continue
            taken = [one for one in samples if one.taken[key] == value]
            found = [one for one in taken if one.seconds_of(after) and one.base_seconds_of(before)]
            if not found:
                continue
            ratios = [one.seconds_of(after) / one.base_seconds_of(before) for one in found]
            base, ratio = float(np.median([one.base_seconds_of(before) for one in found])), float(np.median(ratios))
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


def _calls_of_options(choices: Mapping[str, Choice], samples: Sequence[Sample]) -> dict[Option, dict[str, int]]:
    """What the model calls because an option is taken, by workload; of the options of which that is known."""
    usual = {key: choice.taken for key, choice in choices.items()}
    options = _patterns(choices, [usual, *(one.taken for one in samples)])
    models = [samples[0].base_calls, *(one.calls for one in samples)] if samples else []
    found: dict[Option, dict[str, int]] = {}
    unknown: set[Option] = set()
    for kernel in dict.fromkeys(kernel for model in models for kernel in model):
        counts = np.array([model.get(kernel, 0) for model in models])
        parts = _taken_apart(counts, list(options))
        if parts is None and any(one.share_of(kernel) > _LEAST_SHARE for one in samples):
            # As where two choices meet: one of those that are always, or only, taken with it.
            where = set(np.flatnonzero(counts))
            taken = {pattern: set(np.flatnonzero(pattern)) for pattern in options}
            unknown.update(*(options[pattern] for pattern, at in taken.items() if at and (at <= where or where <= at)))
        for pattern, calls in (parts or {}).items():
            if len(options[pattern]) > 1:
                unknown.update(options[pattern])
            found.setdefault(options[pattern][0], {})[kernel] = calls
    return {option: calls for option, calls in found.items() if option not in unknown}


def _taken_apart(counts: Any, patterns: Sequence[tuple[bool, ...]]) -> dict[tuple[bool, ...], int] | None:
    """How often each option calls a kernel, if the fewest options that explain all models' counts are the only such.

    Args:
        counts: of a kernel's calls, by model.
        patterns: by option, the models that take it.
    """
    if counts.min() == counts.max():
        return {}
    varied = [pattern for pattern in patterns if any(pattern) and not all(pattern)]
    possible = [pattern for pattern in varied if counts[list(pattern)].all()]
    for number in range(1, _MOST_OPTIONS + 1):
        found = []
        if math.comb(len(possible), number) > _MOST_TRIED:
            return None
        for chosen in itertools.combinations(possible, number):
            # Beside them, every model may call it some times.
            matrix = np.array([*chosen, (True,) * len(counts)], float).T
            calls = np.rint(np.linalg.lstsq(matrix, counts, rcond=None)[0]).astype(int)
            if (matrix @ calls == counts).all() and calls[:-1].min() > 0 <= calls[-1]:
                found.append(dict(zip(chosen, map(int, calls), strict=False)))
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _seconds_of(calls: Mapping[str, int], seconds: Mapping[str, float], all_calls: Mapping[str, int]) -> float:
    times = [count * seconds[kernel] / all_calls[kernel] for kernel, count in calls.items()]
    return sum(times) if all(times) else 0.0
