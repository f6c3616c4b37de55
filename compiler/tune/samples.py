"""Records of a model that was measured with other choices of graph passes beside the model as it is.

They hold the times of the kernels that the two do not call equally often, which is what tells options apart, so that a
tuner that was killed need not measure again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from .records import CHOICE, Record
from .trials import Settings
from .workloads import Workload

# Seconds of all calls of each kernel of the other model and of the model as it is, by workload, and how many rounds.
Measured = tuple[dict[str, float], dict[str, float], int]


def known_sample(other: Sequence[Workload], base: Sequence[Workload], records: Iterable[Record]) -> Measured | None:
    """What was measured of two models, if it was; kernels that both call equally often are without their times."""
    name = _name_of(other, base)
    mine = [one for one in records if one.work.get("sample") == name and one.is_current]
    seconds = {record.workload: record.seconds for record in mine}
    if not mine or seconds.keys() != _changed(other, base):
        return None
    times = [{one.key: seconds.get(one.key, 0.0) * one.calls for one in workloads} for workloads in (other, base)]
    return times[0], times[1], mine[0].rounds


def records_of_sample(
    measured: Measured, other: Sequence[Workload], base: Sequence[Workload], settings: Settings, threads: int
) -> list[Record]:
    """What was measured of two models, for the log."""
    mine, usual, rounds = measured
    calls = calls_of([*base, *other])
    seconds = {key: (usual | mine)[key] / calls[key] for key in sorted(_changed(other, base))}
    return [
        Record(
            kind="trial",
            workload=key,
            work={"family": CHOICE, "sample": _name_of(other, base)},
            target=settings.target.name,
            fingerprint=settings.target.fingerprint,
            decision=None,
            seconds=time,
            spread=0.0,
            base=time,
            rounds=rounds,
            threads=threads,
        )
        for key, time in seconds.items()
    ]


def _changed(other: Sequence[Workload], base: Sequence[Workload]) -> set[str]:
    """The kernels that one of two models calls more often."""
    return {key for key, _ in calls_of(other).items() ^ calls_of(base).items()}


def calls_of(workloads: Sequence[Workload]) -> dict[str, int]:
    """In a run of the model, by workload."""
    return {workload.key: workload.calls for workload in workloads}


def _name_of(other: Sequence[Workload], base: Sequence[Workload]) -> int:
    """A number for two models, by their kernels."""
    calls = [sorted(calls_of(workloads).items()) for workloads in (base, other)]
    return int(hashlib.sha256(repr(calls).encode()).hexdigest()[:15], 16)
