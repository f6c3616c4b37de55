"""Whether schedules give the results of the default one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..build.cache import Cache
from .fleet import Fleet
from .subject import Subject, kernels_alone
from .trials import Candidate, Job, Settings, run_candidates
from .workloads import Workload

# Results may differ by the order of sums; by more than this share of the largest, they are wrong.
_TOLERANCE = 2e-5
_TOLERANCE_OF_16_BITS = 2e-2
_MOST_BYTES = 128 << 20  # of data of kernels that are checked together


def check_candidates(
    candidates: Sequence[Candidate], subject: Subject, settings: Settings, fleet: Fleet, cache: Cache | None
) -> None:
    """Runs each beside its default on random data, alone; those whose results differ have a failure then.

    Raises:
        LostError: no board is left.
    """
    workloads = {one.workload.key: one.workload for one in candidates}
    for group in _groups(list(workloads.values())):
        keys = {workload.key for workload in group}
        members = [one for one in candidates if one.workload.key in keys]
        alone = kernels_alone(subject.functions, subject.kernels, group)
        run_candidates(members, alone, settings, fleet, cache, _check)


def _check(job: Job) -> None:
    for together, times in zip(job.versions, job.times[1:], strict=True):
        for candidate in together:
            _compare(candidate, times.differences)


def _compare(candidate: Candidate, differences: Mapping[str, float]) -> None:
    limit = _TOLERANCE_OF_16_BITS if "16" in str(candidate.search.work["dtype"]) else _TOLERANCE
    mine = [value for name, value in differences.items() if name.startswith(f"{candidate.workload.key}_")]
    if not mine or not all(value <= limit for value in mine):  # no NaN is
        candidate.failure = f"its results differ by {max(mine, default=0.0):.2g}"


def _groups(workloads: Sequence[Workload]) -> Iterator[list[Workload]]:
    group: list[Workload] = []
    size = 0
    for workload in workloads:
        nbytes = sum(argument.nbytes for argument in workload.arguments)
        if group and size + nbytes > _MOST_BYTES:
            yield group
            group, size = [], 0
        group.append(workload)
        size += nbytes
    yield from [group] if group else []
