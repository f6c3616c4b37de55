"""The rule that fits any static program: block by block."""

from __future__ import annotations

import math
from typing import Any

from .analysis import Block, blocks_of
from .inline import inline_producers
from .limits import Limits
from .rule import Offer, Parameters
from .style import TASKS, VECTORS, offer_style
from .threads import fused


def blocks_rule(sch: Any, limits: Limits) -> Offer | None:
    """Any program: each block by itself, parallel outside, vectorised where memory is contiguous."""
    inline_producers(sch, blocks_of(sch), cheap_only=True)

    def apply(chosen: Parameters) -> None:
        for block in blocks_of(sch):
            parallel_vector(sch, block, limits, chosen["vectors"], chosen["tasks"])

    return offer_style(apply)


def parallel_vector(sch: Any, block: Block, limits: Limits, vectors: int = VECTORS, tasks: int = TASKS) -> None:
    """Splits the outer data-parallel axes over threads, and vectorises the innermost loop if it pays.

    Args:
        vectors: most registers that the innermost loop fills at once.
        tasks: as many as this are enough for the threads.
    """
    rv = sch.get_sblock(block.name)
    loops = sch.get_loops(rv)
    if len(loops) != len(block.spatial) + len(block.reduction):
        return  # opaque or rearranged before: leave it as it is
    outer, inner = loops[: len(block.spatial)], loops[len(block.spatial) :]
    if not outer or 0 in block.spatial or 0 in block.reduction:
        return
    lanes = vector_lanes(block, limits, vectors)
    if not block.reduction:
        extents = list(block.spatial)
        if lanes > 1:
            rest, vector = sch.split(outer[-1], [None, lanes])
            sch.vectorize(vector)
            outer, extents[-1] = [*outer[:-1], rest], extents[-1] // lanes
        _share(sch, outer, extents, block, limits, tasks)
    elif lanes > 1:
        rest, vector = sch.split(outer[-1], [None, lanes], preserve_unit_iters=False)
        sch.reorder(*outer[:-1], rest, *inner, vector)
        sch.vectorize(vector)
        extents = [*block.spatial[:-1], block.spatial[-1] // lanes]
        _share(sch, [*outer[:-1], rest], extents, block, limits, tasks)
        sch.decompose_reduction(rv, inner[0])
    else:
        _reduce_rows(sch, block, limits, tasks)


def _reduce_rows(sch: Any, block: Block, limits: Limits, tasks: int) -> None:
    """A reduction along contiguous memory: partial results, one a lane, which are reduced in the end."""
    rv = sch.get_sblock(block.name)
    lanes = sum_lanes(block, limits)
    partial = None
    if lanes > 1:
        _steps, lane = sch.split(sch.get_loops(rv)[-1], [None, lanes])
        partial = sch.rfactor(lane, len(block.spatial))
    outer = sch.get_loops(rv)[: len(block.spatial)]
    row = _share(sch, outer, list(block.spatial), block, limits, tasks)
    if partial is None:
        return
    sch.set_scope(partial, 0, "local")
    sch.compute_at(partial, row)
    lane, *steps = sch.get_loops(partial)[len(sch.get_loops(rv)) - 1 :]
    sch.reorder(*steps, lane)
    sch.vectorize(lane)
    sch.decompose_reduction(partial, steps[0])
    sch.decompose_reduction(rv, sch.get_loops(rv)[-1])


def _share(sch: Any, outer: list[Any], extents: list[int], block: Block, limits: Limits, tasks: int) -> Any:
    """Fuses the fewest leading loops that make enough tasks, shares them among threads; the last fused loop.

    The loops inside stay apart: what depends on one of them alone is computed once there, and indices need
    no division.
    """
    count = next((n for n in range(1, len(outer) + 1) if math.prod(extents[:n]) >= tasks), len(outer))
    if block.work < limits.parallel_work:
        return outer[-1]
    task = fused(sch, outer[:count])
    sch.parallel(task)
    return outer[-1] if count < len(outer) else task


def vector_lanes(block: Block, limits: Limits, vectors: int = VECTORS) -> int:
    """Lanes to vectorise the last data-parallel axis with; 1 for none."""
    if not block.contiguous or not block.spatial:
        return 1
    lanes = largest_divisor(math.gcd(block.spatial[-1], block.period), vectors * limits.lanes)
    # LLVM makes whole vectors and a remainder of a plain loop; that is faster than odd vectors.
    return lanes if block.reduction or lanes >= limits.lanes else 1


def sum_lanes(block: Block, limits: Limits) -> int:
    """Lanes to split the last reduction axis into, where memory is contiguous along it; 1 for none."""
    if not block.contiguous_reduction or block.writes > 1:
        return 1
    steps = math.prod(block.reduction)
    # More than one step, or there is nothing to sum in vectors.
    lanes = largest_divisor(block.reduction[-1], min(4 * limits.lanes, steps // 2))
    return lanes if lanes >= limits.lanes else 1


def largest_divisor(extent: int, limit: int) -> int:
    """The largest divisor of `extent` that is at most `limit`."""
    return next((d for d in range(min(extent, limit), 0, -1) if extent % d == 0), 1)
