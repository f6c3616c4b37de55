"""The rules that fit any static program: element-wise work in one nest, and block by block as a last resort."""

from __future__ import annotations

import math
from typing import Any

from .analysis import Block, blocks_of
from .limits import Limits


def schedule_injective(sch: Any, limits: Limits) -> bool:
    """Programs without reductions: every block is inlined into those that write results, those are vectorised."""
    blocks = blocks_of(sch)
    if any(b.reduction for b in blocks):
        return False
    inline_producers(sch, blocks, keep=set())
    for block in blocks_of(sch):
        parallel_vector(sch, block, limits)
    return True


def schedule_blocks(sch: Any, limits: Limits) -> bool:
    """Any program: each block by itself, parallel over its outer axes, vectorised where memory is contiguous."""
    inline_producers(sch, blocks_of(sch), keep=set(), cheap_only=True)
    for block in blocks_of(sch):
        parallel_vector(sch, block, limits)
    return True


def inline_producers(sch: Any, blocks: list[Block], keep: set[str], cheap_only: bool = False) -> None:
    """Inlines every block without a reduction into its consumers, where the schedule allows it.

    Args:
        keep: blocks to leave alone.
        cheap_only: leave blocks that call transcendental functions and are read by a reduction, which would
            compute them again for every step.
    """
    from tvm import s_tir

    for block in blocks:
        if block.name in keep or block.reduction:
            continue
        rv = sch.get_sblock(block.name)
        consumers = sch.get_consumers(rv)
        if not consumers or (cheap_only and block.transcendental and len(consumers) > 1):
            continue
        try:
            sch.compute_inline(rv)
        except s_tir.ScheduleError:
            continue  # it writes a result of the program, or reads what it writes


def parallel_vector(sch: Any, block: Block, limits: Limits) -> None:
    """Fuses the data-parallel axes, splits them over threads, and vectorises the last one if it pays."""
    rv = sch.get_sblock(block.name)
    loops = sch.get_loops(rv)
    if len(loops) != len(block.spatial) + len(block.reduction):
        return  # opaque or rearranged before: leave it as it is
    outer, inner = loops[: len(block.spatial)], loops[len(block.spatial) :]
    if not outer or 0 in block.spatial:
        return
    lanes = vector_lanes(block, limits)
    decompose = None
    if lanes > 1:
        if block.reduction:
            rest, vector = sch.split(outer[-1], [None, lanes], preserve_unit_iters=False)
            sch.reorder(*outer[:-1], rest, *inner, vector)
            sch.vectorize(vector)
            decompose = inner[0]
            outer = [*outer[:-1], rest]
        else:
            fused = sch.fuse(*outer)
            # Whole vectors, and as few as possible in one piece of work for a thread.
            rest, vector = sch.split(fused, [None, lanes])
            sch.vectorize(vector)
            outer = [rest]
    if block.work >= limits.parallel_work:
        sch.parallel(sch.fuse(*outer) if len(outer) > 1 else outer[0])
    if decompose is not None:
        sch.decompose_reduction(rv, decompose)


def vector_lanes(block: Block, limits: Limits) -> int:
    """Lanes to vectorise the last data-parallel axis with; 1 for none.

    Without a reduction the axes are fused first, so the whole extent has to divide; with one, the last axis.
    """
    if block.transcendental and not block.contiguous:
        return 1
    if block.reduction:
        return largest_divisor(block.spatial[-1], 2 * limits.lanes) if block.contiguous else 1
    total = math.prod(block.spatial)
    return largest_divisor(total if len(block.spatial) == 1 else block.spatial[-1], 2 * limits.lanes) if block.contiguous else 1


def largest_divisor(extent: int, limit: int) -> int:
    """The largest divisor of `extent` that is at most `limit`."""
    return next((d for d in range(min(extent, limit), 0, -1) if extent % d == 0), 1)
