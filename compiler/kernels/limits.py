"""The numbers of a target that schedules are derived from."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

from ..target import Target
from . import dots_arm, dots_x86
from .cost import Cost
from .estimate import seconds_on_one_core, vector_cycles
from .float16 import has_arithmetic
from .llvm_code import has_pairs
from .weight_limit import WeightLimit

# Of a launch of two threads that are awake: 0.25 µs at 3.9 GHz (scripts/bench_overhead.py); in cycles, since it is work
# of the cores.
_LAUNCH_CYCLES = 1000
# A program gets threads if two of them save so many times that; fetching what the other core wrote costs too.
_LEAST_GAIN = 2.0

# Zen 5 takes half to nine tenths of the time for depthwise layers by channels, where a Xeon takes longer; as measured.
_FORESEEING = "znver"


@dataclass(frozen=True)
class Limits:
    """What bounds a kernel on one core.

    Attributes:
        lanes: float32 elements of one vector register.
        registers: vector registers.
        l1: bytes of the first-level data cache.
        l2: bytes of second-level cache that one core can count on.
        l2_whole: bytes of second-level cache of all cores that share it.
        l3: bytes of the third-level cache; 0 for none.
        moving: cycles to move a vector register through the second-level cache, the third, and memory, of which all
            fast cores have a part each.
        by_element: whether a multiply-add can take one factor from any element of a vector register, as NEON's of
            64 bits can, so that four factors come with one load.
        dot_data: types of 8-bit integers that data may have in dot products, the best first.
        partial_sums: whether products of 8-bit integers are best summed along vectors (partial_sums.py).
        matrices: whether there are products of two rows of 8-bit integers by two columns (matrix_sums.py).
        byte_pairs: whether products of bytes are best summed by twos in 16 bits where there are no dot products.
        dots: whether there are instructions for them, not only for parts of them.
        dot_registers: vector registers that a dot product takes for itself, beside sums and operands.
        taps: how a filter for each channel sums products of 8-bit integers: `words` of them by dot products, or one by
            one in int32, or in float32, which is as exact for filters that are not huge.
        multiplies_pairs: whether dot products are of 16-bit integers, which 8-bit ones are made into.
        halves: whether there is arithmetic of float16.
        pairs: whether there are dot products of pairs of bfloat16.
        weights: how small 8-bit weights have to be for the fastest kernels; None if that makes no difference.
        foresees_strides: whether the core fetches ahead what is read in large strides, from beyond the second-level
            cache too.
        block_vectors: vectors of a block of packed output channels; 0 for as many as are derived.
        parallel_work: inner iterations below which a kernel, or a block of it, stays on one thread.
    """

    lanes: int
    registers: int
    l1: int = 1 << 15
    l2: int = 1 << 19
    l2_whole: int = 1 << 19
    l3: int = 0
    moving: tuple[float, float, float] = (1.0, 2.5, 2.5)
    by_element: bool = False
    dot_data: tuple[str, ...] = ("int8",)
    dots: bool = False
    dot_registers: int = 0
    taps: str = "int32"
    multiplies_pairs: bool = False
    halves: bool = False
    pairs: bool = False
    partial_sums: bool = False
    matrices: bool = False
    byte_pairs: bool = False
    weights: WeightLimit | None = None
    foresees_strides: bool = False
    block_vectors: int = 0
    parallel_work: int = 1 << 15


def limits_of(target: Target, cost: Cost | None = None, rule: str | None = None) -> Limits:
    """The limits for a program that costs `cost`; without it `parallel_work` is that of ordinary loops.

    Args:
        rule: the name of the rule that will schedule the program, if that is known.
    """
    limits = _limits(target)
    return limits if cost is None else replace(limits, parallel_work=parallel_work(cost, target, rule))


@functools.lru_cache
def _limits(target: Target) -> Limits:
    by_element = target.machine == "aarch64"
    lanes, l1 = max(1, target.simd_bits // 32), 1024 * target.caches.l1d_kib
    l2, l2_whole, l3 = target.l2_bytes, 1024 * target.caches.l2_kib, 1024 * target.caches.l3_kib
    near, far, farthest = (
        vector_cycles(size, target, target.fast_cores or 1) for size in (l2, max(l2 + 1, l3), math.inf)
    )
    limits = Limits(
        lanes,
        target.simd_registers,
        l1,
        l2,
        l2_whole=l2_whole,
        l3=l3,
        moving=(near, far, farthest),
        by_element=by_element,
        halves=has_arithmetic(target),
        pairs=has_pairs(target),
        foresees_strides=target.core.startswith(_FORESEEING),
    )
    if target.machine == "x86_64":
        vnni = dots_x86.has_vnni(target, target.simd_bits)
        dot_data, taps = (("uint8",), "words") if vnni else (("uint8", "int8"), "float32")
        # Without VNNI a dot product needs registers for halves and a mask.
        limits = replace(
            limits,
            dot_data=dot_data,
            dots=vnni,
            dot_registers=0 if vnni else 4,
            taps=taps,
            multiplies_pairs=not vnni,
            weights=dots_x86.weight_limit(target),
        )
    elif target.machine in dots_arm.MACHINES:
        partial, weights = dots_arm.sums_partially(target), dots_arm.weight_limit(target)
        limits = replace(
            limits,
            dots=not partial,
            partial_sums=partial,
            matrices=dots_arm.multiplies_matrices(target),
            byte_pairs=True,
            weights=weights,
        )
    return limits


def parallel_work(cost: Cost, target: Target, rule: str | None = None) -> int:
    """Iterations of a program from which it pays to share them among threads.

    That many take so long on one core that two cores save more than a launch costs.
    """
    launch = _LAUNCH_CYCLES / (target.ghz * 1e9)
    iteration = seconds_on_one_core(cost, target, rule) / max(cost.iterations, 1)
    return math.ceil(2 * _LEAST_GAIN * launch / iteration)
