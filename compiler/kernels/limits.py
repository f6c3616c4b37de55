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
        l2: bytes of second-level cache that one core can count on.
        parallel_work: inner iterations below which a kernel stays on one thread.
    """

    lanes: int
    registers: int
    l2: int = 1 << 19
    parallel_work: int = _PARALLEL_WORK


def limits_of(target: Target) -> Limits:
    caches = target.caches
    sharers = (target.fast_cores or 1) if caches.l2_shared else 1
    return Limits(max(1, target.simd_bits // 32), target.simd_registers, caches.l2_kib * 1024 // sharers)
