"""Chooses algorithms of graph passes: each choice is turned, and the kernels that change with it are measured."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..build.cache import Cache
from ..kernels.rule import Decision
from ..passes.choices import Choice
from ..pipeline import Lowered
from .fleet import Fleet
from .kernel import KernelSearch
from .records import CHOICE, THROTTLED, Log, Record, current_versions
from .trials import Plan, Settings, now, run_plans
from .workloads import Workload, workloads_of

_ROUNDS = 15
_LEAST_GAIN = 0.03  # of the time of the kernels that change; less is not told from noise


@dataclass(frozen=True)
class Turned:
    """What turning one choice would change.

    Attributes:
        key: of the choice.
        value: what is taken instead.
        gone, new: workloads that the model has less often and more often, with how many times.
    """

    key: str
    choice: Choice
    value: int
    gone: Mapping[str, int]
    new: Mapping[str, int]


def turn_choices(
    lowered: Lowered, lower: Callable[[Mapping[str, int]], Lowered], decided: Mapping[str, int], deadline: float
) -> tuple[list[Turned], dict[str, Workload]]:
    """Every other option of every choice, with the workloads that it brings, while there is time.

    Args:
        lower: the model with choices decided.
        decided: choices that are decided already.
        deadline: on time.perf_counter's clock.
    """
    before = {workload.key: workload for workload in workloads_of(lowered.versions, lowered.programs)}
    known = dict(before)
    found: list[Turned] = []
    for key, choice in lowered.choices.items():
        for value in choice.options:
            if value == decided.get(key, choice.default):
                continue
            if time.perf_counter() > deadline:
                return found, known
            other = lower({**decided, key: value})
            after = {workload.key: workload for workload in workloads_of(other.versions, other.programs)}
            known |= {name: workload for name, workload in after.items() if name not in known}
            gone, new = _difference(before, after), _difference(after, before)
            if new:
                found.append(Turned(key, choice, value, gone, new))
    return found, known


def _difference(first: Mapping[str, Workload], second: Mapping[str, Workload]) -> dict[str, int]:
    """By workload, how many more calls the first has."""
    calls = Counter({key: workload.calls for key, workload in first.items()})
    calls.subtract({key: workload.calls for key, workload in second.items()})
    return {key: count for key, count in calls.items() if count > 0}


def measure_turned(
    turned: Iterable[Turned],
    searches: Mapping[str, KernelSearch],
    settings: Settings,
    fleet: Fleet,
    log: Log,
    cache: Cache | None,
    deadline: float,
    known: Iterable[Record] = (),
) -> dict[str, Record]:
    """The best option of each choice, where one is faster than what is taken, as a record by the choice's key.

    Args:
        searches: of all workloads.
        known: of earlier sessions; what they say is not measured again.
    """
    best: dict[str, Record] = {}
    measured = {(record.workload, record.text): record for record in known if record.versions == current_versions()}
    for one in turned:
        if time.perf_counter() > deadline:
            break
        keys = [*one.gone, *one.new]
        if not all(key in searches for key in keys):
            continue  # a kernel that cannot be measured alone
        record = measured.get((one.key, Decision(CHOICE, {"value": one.value}).text))
        if record is None:
            plans = [Plan(searches[key], (searches[key].space.default,)) for key in keys]
            batches = run_plans(plans, settings, fleet, cache, log.append)
            before = sum(searches[key].base * calls for key, calls in one.gone.items())
            after = sum(searches[key].base * calls for key, calls in one.new.items())
            throttled = any(record.source == THROTTLED for records in batches for record in records)
            record = _record(one, before, after, settings, fleet, THROTTLED if throttled else "measured")
            log.append([record])
        if record.source == THROTTLED:
            continue
        if record.ratio < 1 - _LEAST_GAIN and (one.key not in best or record.ratio < best[one.key].ratio):
            best[one.key] = record
    return best


def _record(one: Turned, before: float, after: float, settings: Settings, fleet: Fleet, source: str) -> Record:
    return Record(
        kind="trial",
        workload=one.key,
        work={"family": CHOICE, "text": one.choice.text[:200]},
        target=settings.target.name,
        fingerprint=settings.target.fingerprint,
        decision=Decision(CHOICE, {"value": one.value}),
        seconds=after,
        spread=0.0,
        base=before,
        rounds=settings.rounds,
        threads=fleet.threads,
        date=now(),
        source=source,
    )
