"""How long a tensor program may take on one core, from what it costs and the target's limits.

The roofline of Williams, Waterman and Patterson (Communications of the ACM 52(4), 2009), with the share of the limit
that our rules reach.
"""

from __future__ import annotations

from ..target import Target
from .cost import Cost

# Shares of the multiply-add limit: medians over the kernels of 14 models, as `edgec bench --profile` shows them.
_EFFICIENCY = {
    "packed": 0.85,
    "winograd": 0.65,
    "attention": 0.55,
    "injective": 0.4,
    "tile": 0.4,
    "rows": 0.08,
    "blocks": 0.05,
    "none": 0.02,
}
_USUAL_EFFICIENCY = 0.5  # of a program whose rule is not known yet
# Vector registers that one core moves in a cycle from L1, L2 and what is beyond: fitted to the same kernels.
_VECTORS_PER_CYCLE = (2.0, 1.0, 0.4)
_CALL_SECONDS = 20e-9


def seconds_on_one_core(cost: Cost, target: Target, rule: str | None = None) -> float:
    """Seconds of one call: the slower of computing, and moving bytes through the cache that holds them.

    Args:
        rule: the name of the rule that schedules it; None where that is not known.
    """
    efficiency = _USUAL_EFFICIENCY if rule is None else _EFFICIENCY.get(rule, _USUAL_EFFICIENCY)
    compute = cost.flops / (_peak_gflops(cost.dtype, target) * efficiency * 1e9)
    memory = cost.bytes_moved / (_bandwidth_gbs(cost.bytes_moved, target) * 1e9)
    return max(compute, memory) + _CALL_SECONDS


def _peak_gflops(dtype: str, target: Target) -> float:
    """Of one fast core; types that a target has no peak for count as float32, which they are converted to."""
    try:
        together = target.peak_gflops(dtype)
    except ValueError:
        together = target.peak_gflops()
    return together / (target.fast_cores or 1)


def _bandwidth_gbs(size: int, target: Target) -> float:
    """GB/s that one fast core moves through the smallest cache that holds `size` bytes, else through memory."""
    return target.simd_bits / 8 * target.ghz / vector_cycles(size, target)


def vector_cycles(size: float, target: Target, cores: int = 1) -> float:
    """Cycles in which a core moves a vector register through the smallest cache that holds `size` bytes, else memory.

    Args:
        cores: that share the memory's bandwidth.
    """
    caches = (target.caches.l1d_kib * 1024, target.l2_bytes, target.caches.l3_kib * 1024)
    for cache, vectors in zip(caches, _VECTORS_PER_CYCLE, strict=True):
        if size <= cache:
            return 1 / vectors
    return max(1 / _VECTORS_PER_CYCLE[-1], target.simd_bits / 8 * target.ghz * cores / target.memory_bandwidth_gbs)
