"""The numbers of a target that schedules are derived from."""

from __future__ import annotations

from dataclasses import dataclass

from ..target import Target

# A launch costs a few microseconds on two busy cores; below this many inner iterations one thread is faster.
_PARALLEL_WORK = 1 << 15


@dataclass(frozen=True)
class Limits:
    """What bounds a kernel on one core.

    Attributes:
        lanes: float32 elements of one vector register.
        registers: vector registers.
        parallel_work: inner iterations below which a kernel stays on one thread.
    """

    lanes: int
    registers: int
    parallel_work: int = _PARALLEL_WORK


def limits_of(target: Target) -> Limits:
    return Limits(max(1, target.simd_bits // 32), target.simd_registers)
