"""Contractions: convolutions and matrix products whose last output axis is contiguous in memory.

A tile of output elements, MR along the last but one axis and NR along the last, stays in registers
while the reduction runs; its epilogue (bias, activation, residual) is computed at the tile. See
Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .accesses import reads
from .analysis import Block, blocks_of
from .inline import inline_producers
from .limits import Limits
from .overlap import split_overlapping
from .peel import mark_for_peeling
from .rule import Offer, Parameters, values_up_to
from .tails import mark_tail
from .threads import fused, share
from .vectors import lanes_of

# Wider tiles than this many vectors along the last axis gain nothing and lengthen compilation.
_MAX_VECTORS = 4


def tile_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs with one reduction over contiguous data, and an element-wise epilogue of its shape."""
    blocks = blocks_of(sch)
    anchors = [b for b in blocks if b.reduction]
    if len(anchors) != 1 or not anchors[0].contiguous or not anchors[0].spatial:
        return None
    anchor = anchors[0]
    if 0 in anchor.spatial or 0 in anchor.reduction or _sums_rows(sch, anchor):
        return None
    inline_producers(sch, blocks[: blocks.index(anchor)])
    if any(b.name != anchor.name for b in _before(sch, anchor)):
        return None
    epilogue = _merge_epilogue(sch, anchor)
    if epilogue is None:
        return None
    if _of_bytes(sch, anchor):
        limits = replace(limits, lanes=4 * limits.lanes)
    rows, vectors, lanes = choose_tile(anchor, limits)
    most = min(_MAX_VECTORS, anchor.spatial[-1] // lanes)
    whole = [v for v in range(1, most + 1) if anchor.period % (v * lanes) == 0]
    return Offer(
        lambda chosen: _apply(sch, anchor, epilogue, lanes, limits, chosen),
        {"rows": rows, "vectors": vectors},
        {"rows": values_up_to(min(_rows(anchor), limits.registers), rows), "vectors": tuple(whole)},
    )


def _of_bytes(sch: Any, anchor: Block) -> bool:
    """Whether all that is read and written are bytes, as of a maximum over windows of them."""
    block = sch.get(sch.get_sblock(anchor.name))
    return all(str(region.source.ty.dtype) in ("int8", "uint8") for region in [*block.reads, *block.writes])


def _sums_rows(sch: Any, anchor: Block) -> bool:
    """Whether all that is read lies along the one reduction axis, and there is nothing beside it."""
    if anchor.spatial[-1] > 1 or len(anchor.reduction) > 1:
        return False
    block = sch.get(sch.get_sblock(anchor.name))
    return all(access.step(block.iter_vars[-1].var) in (0, 1) for access in reads(block.body))


def _apply(sch: Any, anchor: Block, epilogue: str, lanes: int, limits: Limits, chosen: Parameters) -> None:
    m, vectors = chosen["rows"], chosen["vectors"]
    if epilogue == anchor.name:
        sch.cache_write(sch.get_sblock(anchor.name), 0, "local")
        epilogue = next(b.name for b in blocks_of(sch) if not b.reduction)
    else:
        sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    loops = sch.get_loops(sch.get_sblock(epilogue))
    columns, inside = split_overlapping(sch, loops[-1], vectors * lanes, anchor.spatial[-1])
    column, lane = sch.split(inside, [None, lanes])
    outer, tile, alone = list(loops[:-2]), [column, lane], None
    if len(loops) > 1:
        row_tiles, row = split_overlapping(sch, loops[-2], m, anchor.spatial[-2])
        tile.insert(0, row)
        if anchor.spatial[-2] % m and outer:
            alone = row_tiles  # overlapping tiles cannot be fused
        else:
            outer.append(row_tiles)
    sch.reorder(*outer, *([alone] if alone is not None else []), columns, *tile)
    for loop in tile[:-1]:
        sch.unroll(loop)
    sch.vectorize(lane)
    task = fused(sch, outer) if outer else columns
    sch.compute_at(sch.get_sblock(anchor.name), columns, preserve_unit_loops=True)
    share(sch, task, anchor, limits)
    compute_tile(sch, anchor, 1 + bool(outer) + (alone is not None), lanes, limits)


def compute_tile(
    sch: Any,
    anchor: Block,
    depth: int,
    lanes: int,
    limits: Limits,
    unroll_reduction: bool = False,
    by_element: bool = False,
    factors: Any = None,
) -> None:
    """Arranges the sums of a tile: the reduction outside, vectors inside.

    Args:
        depth: loops around the tile, under which the anchor has been moved by compute_at.
        unroll_reduction: write out all reduction loops but the first.
        by_element: load the rows' factors a vector at a time, of which each multiply-add takes one element.
        factors: the block that makes the rows' factors, which is done a vector at a time too.
    """
    compute = sch.get_sblock(anchor.name)
    inner = sch.get_loops(compute)[depth:]
    spatial, reduction = inner[: len(anchor.spatial)], inner[len(anchor.spatial) :]
    vector, lane = sch.split(spatial[-1], [None, lanes])
    tile = [*spatial[:-1], vector, lane]
    if by_element or factors is not None:
        count = min(limits.lanes, anchor.reduction[-1])
        steps, step = sch.split(reduction[-1], [None, count])
        if anchor.reduction[-1] % count:
            mark_for_peeling(sch, steps)
            mark_tail(sch, steps)
        reduction = [*reduction[:-1], steps]
        sch.reorder(*reduction, step, *tile)
        if factors is None:
            factors = sch.cache_read(compute, 0, "local")
        else:
            sch.set_scope(factors, 0, "local")
        sch.compute_at(factors, steps, preserve_unit_loops=True)
        *rows, elements = sch.get_loops(factors)[depth + len(reduction) :]
        sch.vectorize(elements)
        for loop in [*rows, *([step] if by_element else [])]:
            sch.unroll(loop)
    else:
        sch.reorder(*reduction, *tile)
    for loop in [*(reduction[1:] if unroll_reduction else []), *tile[:-1]]:
        sch.unroll(loop)
    sch.vectorize(lane)
    # Decomposing comes last: the initialisation then gets the same vectors and unrolled loops.
    sch.decompose_reduction(compute, reduction[0])


def _before(sch: Any, anchor: Block) -> list[Block]:
    blocks = blocks_of(sch)
    return blocks[: [b.name for b in blocks].index(anchor.name)]


def _merge_epilogue(sch: Any, anchor: Block) -> str | None:
    """Inlines what follows the anchor into one block of its shape; its name, else the anchor's."""
    after = [b for b in blocks_of(sch) if not b.reduction]
    if not after:
        return anchor.name
    inline_producers(sch, after[:-1])
    rest = [b for b in blocks_of(sch) if not b.reduction]
    if len(rest) != 1 or rest[0].spatial != anchor.spatial:
        return None
    name = rest[0].name
    return name if len(sch.get_loops(sch.get_sblock(name))) == len(anchor.spatial) else None


def choose_tile(anchor: Block, limits: Limits) -> tuple[int, int, int]:
    """(rows, vectors, lanes) of the tile, no larger than the last two extents; lanes are a power of two.

    Chosen to fill the registers, to load least per multiplication, and to compute little twice.
    """
    rows = _rows(anchor)
    columns = anchor.spatial[-1]
    lanes = math.gcd(lanes_of(columns, limits.lanes), anchor.period)
    best, best_cost = (1, 1, lanes), float("inf")
    for vectors in range(1, min(_MAX_VECTORS, columns // lanes) + 1):
        width = vectors * lanes
        if anchor.period % width:
            continue  # a tile stays within a group
        # Beside the sums, the vectors of a column and one broadcast element are in registers.
        most = max(1, (limits.registers - 1 - vectors) // vectors)
        for m in range(1, min(rows, most) + 1):
            # Tiles that do not divide an axis overlap.
            waste = (-(-columns // width) * width / columns) * (-(-rows // m) * m / rows)
            cost = waste * tile_cost(m, vectors, limits)
            if cost < best_cost:
                best, best_cost = (m, vectors, lanes), cost
    return best


def tile_cost(rows: int, vectors: int, limits: Limits, by_element: bool = False) -> float:
    """Slots of a multiply-add that one of them takes, in a tile of so many rows and vectors.

    Each load takes one too, of which rows and vectors need one (a row's may come with the multiply-add, or for
    several steps at once); few independent accumulators leave the pipeline idle.
    """
    accumulators = rows * vectors
    loads = rows / limits.lanes + vectors / 2 + 1 if by_element else vectors + 0.5 * rows
    return (accumulators + loads) / accumulators * max(1.0, 8 / accumulators)


def _rows(anchor: Block) -> int:
    return anchor.spatial[-2] if len(anchor.spatial) > 1 else 1
