"""Chooses algorithms of graph passes, all choices at once.

The model is lowered some times, with a random option of every choice each time, and measured beside the model as it is.
A kernel belongs to that option which was taken in just those lowerings that have the kernel. So a few lowerings say how
fast the kernels of all options are.

The kernels of a sample that only one of the two models has are in the log, so that a tuner that was killed goes on
after it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..kernels.rule import Decision
from ..passes.choices import Choice
from .boards import Times
from .records import CHOICE, Record, current_versions
from .trials import Settings, now
from .workloads import Workload

MOST_SAMPLES = 12  # lowerings that tell some hundred options apart
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


def draw(choices: Mapping[str, Choice], rng: random.Random) -> dict[str, int]:
    """A random option of every choice."""
    return {key: rng.choice(choice.options) for key, choice in choices.items()}


def seconds_of(workloads: Sequence[Workload], times: Times) -> dict[str, float]:
    """Medians, by workload."""
    return {workload.key: float(np.median(times.of(workload.steps))) for workload in workloads}


def name_of(base: Sequence[Workload], other: Sequence[Workload]) -> int:
    """What a sample is known by in records, of a model and the same with other choices."""
    calls = [sorted((workload.key, workload.calls) for workload in workloads) for workloads in (base, other)]
    return int(hashlib.sha256(repr(calls).encode()).hexdigest()[:15], 16)


def known_sample(
    taken: Mapping[str, int], base: Sequence[Workload], other: Sequence[Workload], records: Iterable[Record]
) -> Sample | None:
    """The sample if records have it; of kernels that both models have, without their times."""
    name = name_of(base, other)
    mine = [one for one in records if one.work.get("sample") == name and one.versions == current_versions()]
    seconds = {record.workload: record.seconds for record in mine}
    if not mine or seconds.keys() != {workload.key for workload in base} ^ {workload.key for workload in other}:
        return None
    times = [{one.key: seconds.get(one.key, 0.0) * one.calls for one in workloads} for workloads in (other, base)]
    return Sample(taken, times[0], times[1], mine[0].rounds)


def records_of_sample(
    sample: Sample, base: Sequence[Workload], other: Sequence[Workload], settings: Settings, threads: int
) -> list[Record]:
    """A sample for the log."""
    workloads = {workload.key: workload for workload in (*base, *other)}
    seconds = {key: {**sample.seconds, **sample.base}[key] for key in sample.seconds.keys() ^ sample.base.keys()}
    return [
        Record(
            kind="trial",
            workload=key,
            work={"family": CHOICE, "sample": name_of(base, other)},
            target=settings.target.name,
            fingerprint=settings.target.fingerprint,
            decision=None,
            seconds=time / workloads[key].calls,
            spread=0.0,
            base=time / workloads[key].calls,
            rounds=sample.rounds,
            threads=threads,
            date=now(),
        )
        for key, time in seconds.items()
    ]


def best_options(
    choices: Mapping[str, Choice],
    usual: Mapping[str, int],
    samples: Sequence[Sample],
    settings: Settings,
    threads: int,
) -> tuple[list[Record], dict[str, Record]]:
    """What the samples say: a record of every option whose kernels are known, and, by choice, of the best ones.

    Args:
        usual: what is taken in the model as it is.
    """
    kernels = _kernels_of_options(choices, usual, samples)
    records: list[Record] = []
    best: dict[str, Record] = {}
    for key, choice in choices.items():
        before = kernels.get((key, usual[key]))
        for value in choice.options:
            after = kernels.get((key, value))
            found = [one for one in samples if one.taken[key] == value]
            if value == usual[key] or not before or not after or not found:
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
                date=now(),
            )
            records.append(record)
            if ratio < 1 - _LEAST_GAIN and (key not in best or ratio < best[key].ratio):
                best[key] = record
    return records, best


def _kernels_of_options(
    choices: Mapping[str, Choice], usual: Mapping[str, int], samples: Sequence[Sample]
) -> dict[Option, list[str]]:
    """The workloads that the model has if, and only if, an option is taken; of those options that were told apart."""
    taken = [usual, *(one.taken for one in samples)]
    options: dict[tuple[bool, ...], list[Option]] = {}
    for key, choice in choices.items():
        for value in choice.options:
            options.setdefault(tuple(one[key] == value for one in taken), []).append((key, value))
    models = [samples[0].base, *(one.seconds for one in samples)] if samples else []
    found: dict[Option, list[str]] = {}
    for kernel in {kernel for model in models for kernel in model}:
        alike = options.get(tuple(kernel in model for model in models), [])
        if len(alike) == 1:
            found.setdefault(alike[0], []).append(kernel)
    return found
