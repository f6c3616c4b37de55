"""Products with weights of few bits, which the pass of the same name writes: a register tile of rows by channels.

Of few rows, weights become floats in registers as they are used, and the sums of a group are scaled; those of all
groups are read and written once a group, from memory where registers are short. Of many rows, all weights of a block of
channels become floats in memory that the second-level cache holds, and every tile of rows reads them there; what does
not fit becomes floats for each tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .analysis import Block, blocks_of
from .areas import rows_of_tile
from .inline import inline_producers
from .limits import Limits
from .overlap import split_overlapping
from .rule import Offer, Parameters
from .threads import share
from .tile import compute_tile

ACCUMULATOR = "few_bits_accumulator"
GROUP = "few_bits_group"
DEQUANTISED = "few_bits_dequantised"
SCALED = "few_bits_scaled"

# Sums of so many vectors in flight hide the latency of a multiply-add.
_IN_FLIGHT = 8
_MOST_BLOCKS = 4
# As many tiles of rows take as long to make floats of the weights again as writing these down once.
_TILES_FOR_PANEL = 2
# With AVX-512 conversions run beside multiply-adds: up to so many tiles, they cost less than writing floats down.
_WIDE, _MOST_TILES = 16, 8


def few_rows(rows: Sequence[int], width: int, limits: Limits) -> bool:
    """Whether every tile of rows makes floats of the weights for itself, and scales the sums of a group."""
    tiles = -(-rows[-1] // rows_of_tile(rows[-1], width, limits))
    return math.prod(rows) == rows[-1] and tiles <= (_MOST_TILES if limits.lanes >= _WIDE else _TILES_FOR_PANEL)


def few_bits_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by the pass for weights of few bits, with the epilogue that was fused to them."""
    blocks = blocks_of(sch)
    stages = {b.name: b for b in blocks if b.name in (ACCUMULATOR, GROUP, DEQUANTISED, SCALED)}
    if ACCUMULATOR not in stages:
        return None
    anchor = stages[ACCUMULATOR]
    inline_producers(sch, [b for b in blocks if b.name not in stages])
    rest = [b for b in blocks_of(sch) if b.name not in stages]
    if len(rest) != 1:
        return None
    width, count, extent = anchor.spatial[-1], anchor.spatial[-2], anchor.spatial[-3]
    rows = rows_of_tile(extent, width, limits)
    vectors = max(1, width // limits.lanes)
    most = (limits.registers - 4) // (2 * rows * vectors) if GROUP in stages else 1
    wanted = min(-(-_IN_FLIGHT // (rows * vectors)), most, _MOST_BLOCKS)
    together = [n for n in range(1, max(1, most) + 1) if count % n == 0 and n <= _MOST_BLOCKS]
    tiles = math.prod(anchor.spatial[:-2]) // rows
    panel = tiles > _TILES_FOR_PANEL and 4 * math.prod(anchor.reduction) * width <= limits.l2 // 2
    return Offer(
        lambda chosen: _apply(sch, stages, rest[0], rows, limits, chosen),
        {"blocks": max(n for n in together if n <= max(1, wanted)), "panel": int(panel)},
        {"blocks": tuple(together), "panel": (0, 1)},
    )


def _apply(sch: Any, stages: dict[str, Block], result: Block, rows: int, limits: Limits, chosen: Parameters) -> None:
    anchor = stages[ACCUMULATOR]
    sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    width, extent, together = anchor.spatial[-1], anchor.spatial[-3], chosen["blocks"]
    *outer, row_loop, channels = sch.get_loops(sch.get_sblock(result.name))
    row_tiles, row = split_overlapping(sch, row_loop, rows, extent)
    lanes = min(width, limits.lanes)
    channel_tiles, block, vector, lane = sch.split(channels, [None, together, width // lanes, lanes])
    sch.reorder(channel_tiles, *outer, row_tiles, row, block, vector, lane)
    for loop in (row, block, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    sch.compute_at(sch.get_sblock(anchor.name), row_tiles, preserve_unit_loops=True)
    depth = 2 + len(outer)
    weights = _weights_of(sch) if DEQUANTISED in stages else (1, 1)
    if DEQUANTISED in stages:
        dequantised = sch.get_sblock(DEQUANTISED)
        if chosen["panel"]:
            sch.compute_at(dequantised, channel_tiles, preserve_unit_loops=True)
            *_outer, inputs, channels = sch.get_loops(dequantised)
            _split_groups(sch, inputs, weights)
            _vectors, lane = sch.split(channels, [None, lanes])
            sch.vectorize(lane)
        else:
            sch.compute_inline(dequantised)
    share(sch, channel_tiles, anchor, limits)
    compute_tile(sch, anchor, depth, lanes, limits)
    if SCALED in stages:
        _inputs, lane = sch.split(sch.get_loops(sch.get_sblock(SCALED))[-1], [None, lanes])
        sch.vectorize(lane)
    update = sch.get_loops(sch.get_sblock(f"{anchor.name}_update"))[depth]
    if GROUP in stages:
        _sum_groups(sch, stages[GROUP], update, lanes)
    elif not chosen["panel"]:
        _split_groups(sch, update, weights)


def _weights_of(sch: Any) -> tuple[int, int]:
    """How many weights share a scale, and a byte."""
    block = sch.get(sch.get_sblock(DEQUANTISED))
    shapes = [[int(d) for d in region.source.ty.shape] for region in block.reads]
    groups, size = next((shape[1], shape[2]) for shape in shapes if len(shape) == 4)
    together = int(block.iter_vars[1].dom.extent) // groups
    return together, together // size


def _split_groups(sch: Any, inputs: Any, weights: tuple[int, int]) -> None:
    """Cuts a loop over inputs into groups, and those into bytes."""
    together, of_byte = weights
    _groups, _bytes, each = sch.split(inputs, [None, together // of_byte, of_byte])
    sch.unroll(each)


def _sum_groups(sch: Any, group: Block, loop: Any, lanes: int) -> None:
    """The sums of a group of weights, in registers, inside the loop over the groups."""
    sch.set_scope(sch.get_sblock(group.name), 0, "local")
    sums = sch.get_sblock(group.name)
    sch.compute_at(sums, loop, preserve_unit_loops=True)
    inner = sch.get_loops(sums)[-len(group.spatial) - len(group.reduction) :]
    spatial, (reduction, *halves) = inner[: len(group.spatial)], inner[len(group.spatial) :]
    vector, lane = sch.split(spatial[-1], [None, lanes])
    tile = [*spatial[:-1], vector]
    sch.reorder(reduction, *halves, *tile, lane)
    for each in (*halves, *tile):
        sch.unroll(each)
    sch.vectorize(lane)
    sch.decompose_reduction(sums, reduction)
