"""Contractions: convolutions and matrix products whose last output axis is contiguous in memory.

A tile of output elements, MR along the last but one axis and NR along the last, stays in registers
while the reduction runs; its epilogue (bias, activation, residual) is computed at the tile. See
Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
"""

from __future__ import annotations

from typing import Any

from .analysis import Block, blocks_of
from .generic import inline_producers
from .limits import Limits

# Wider tiles than this many vectors along the last axis gain nothing and lengthen compilation.
_MAX_VECTORS = 4


def schedule_tile(sch: Any, limits: Limits) -> bool:
    """Programs with one reduction over contiguous data, and an element-wise epilogue of its shape."""
    blocks = blocks_of(sch)
    anchors = [b for b in blocks if b.reduction]
    if len(anchors) != 1 or not anchors[0].contiguous or not anchors[0].spatial:
        return False
    anchor = anchors[0]
    if 0 in anchor.spatial or 0 in anchor.reduction:
        return False
    inline_producers(sch, blocks[: blocks.index(anchor)], keep=set())
    if any(b.name != anchor.name for b in _before(sch, anchor)):
        return False
    epilogue = _merge_epilogue(sch, anchor)
    if epilogue is None:
        return False
    m, n = choose_tile(anchor, limits)
    if epilogue == anchor.name:
        epilogue = sch.get(sch.cache_write(sch.get_sblock(anchor.name), 0, "local")).name_hint
        # cache_write leaves the computing block under its name and adds the copy.
        epilogue = next(b.name for b in blocks_of(sch) if not b.reduction)
    else:
        sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    out = sch.get_sblock(epilogue)
    loops = sch.get_loops(out)
    if len(loops) != len(anchor.spatial):
        return False
    no, ni = sch.split(loops[-1], [None, n])
    if len(loops) > 1:
        mo, mi = sch.split(loops[-2], [None, m])
        outer = [*loops[:-2], no, mo]
        sch.reorder(*outer, mi, ni)
        sch.unroll(mi)
    else:
        outer = [no]
    sch.vectorize(ni)
    task = sch.fuse(*outer)
    compute = sch.get_sblock(anchor.name)
    sch.compute_at(compute, task, preserve_unit_loops=True)
    inner = sch.get_loops(compute)[1:]
    spatial, reduction = inner[: len(anchor.spatial)], inner[len(anchor.spatial) :]
    sch.reorder(*reduction, *spatial)
    # Decomposing comes last: the initialisation then gets the same vectors and unrolled loops.
    sch.vectorize(spatial[-1])
    for loop in spatial[:-1]:
        sch.unroll(loop)
    if anchor.work >= limits.parallel_work:
        sch.parallel(task)
    sch.decompose_reduction(compute, reduction[0])
    return True


def _before(sch: Any, anchor: Block) -> list[Block]:
    blocks = blocks_of(sch)
    return blocks[: [b.name for b in blocks].index(anchor.name)]


def _merge_epilogue(sch: Any, anchor: Block) -> str | None:
    """Inlines what follows the anchor into one block of its shape; its name, the anchor's own if there is none."""
    after = [b for b in blocks_of(sch) if not b.reduction]
    if not after:
        return anchor.name
    inline_producers(sch, after[:-1], keep=set())
    rest = [b for b in blocks_of(sch) if not b.reduction]
    if len(rest) != 1 or rest[0].spatial != anchor.spatial:
        return None
    return rest[0].name


def choose_tile(anchor: Block, limits: Limits) -> tuple[int, int]:
    """(MR, NR): divisors of the last two extents that fill the registers and load least per multiplication."""
    rows = anchor.spatial[-2] if len(anchor.spatial) > 1 else 1
    columns = anchor.spatial[-1]
    budget = limits.registers - (4 if limits.registers >= 32 else 3)
    best, best_cost = (1, 1), float("inf")
    for n in _divisors(columns, _MAX_VECTORS * limits.lanes):
        vectors = -(-n // limits.lanes)
        waste = vectors * limits.lanes / n  # idle lanes of the last vector
        for m in _divisors(rows, max(1, budget // vectors)):
            # One multiplication-addition costs a slot; so does each load, of which rows and vectors need one.
            cost = waste * (m * vectors + vectors + 0.5 * m) / (m * vectors)
            # Few independent accumulators leave the pipeline of the multiply-add unit idle.
            cost *= max(1.0, 8 / (m * vectors))
            if cost < best_cost:
                best, best_cost = (m, n), cost
    return best


def _divisors(extent: int, limit: int) -> list[int]:
    return [d for d in range(1, min(extent, limit) + 1) if extent % d == 0]
