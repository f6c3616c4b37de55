"""Products with lists of inputs for blocks of channels, which `passes/sparse_products.py` writes."""

from __future__ import annotations

import math
from typing import Any

from .analysis import Block, blocks_of
from .areas import rows_of_tile
from .inline import inline_producers
from .limits import Limits
from .overlap import split_overlapping
from .rule import Offer, Parameters
from .threads import fused, share
from .tile import compute_tile

ACCUMULATOR = "sparse_accumulator"

# Sums of so many vectors in flight hide the latency of a multiply-add.
_IN_FLIGHT = 8
_MOST_BLOCKS = 8


def blocks_together(blocks: int, rows: int, vectors: int, limits: Limits) -> int:
    """Blocks of channels in a tile: more than one only where a few rows leave the pipeline idle."""
    wanted = min(-(-_IN_FLIGHT // (rows * vectors)), (limits.registers - 4) // (rows * vectors), _MOST_BLOCKS)
    return max((n for n in range(1, wanted + 1) if blocks % n == 0), default=1)


def sparse_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by that pass, with the epilogue that was fused to them."""
    blocks = blocks_of(sch)
    anchors = [b for b in blocks if b.name == ACCUMULATOR]
    if len(anchors) != 1 or sum(bool(b.reduction) for b in blocks) != 1:
        return None
    anchor = anchors[0]
    inline_producers(sch, [b for b in blocks if b.name != ACCUMULATOR])
    rest = [b for b in blocks_of(sch) if not b.reduction]
    if len(rest) != 1:
        return None
    width, count, extent = anchor.spatial[-1], anchor.spatial[-2], anchor.spatial[-3]
    rows = rows_of_tile(extent, width, limits)
    vectors = max(1, width // limits.lanes)
    weights = 4 * count * width * math.prod(anchor.reduction)
    return Offer(
        lambda chosen: _apply(sch, anchor, rest[0], limits, chosen),
        {
            "rows": rows,
            "blocks": blocks_together(count, rows, vectors, limits),
            "channels_outside": int(weights > limits.l2 // 2),
        },
        {
            "rows": tuple(range(1, min(extent, limits.registers) + 1)),
            "blocks": tuple(n for n in range(1, _MOST_BLOCKS + 1) if count % n == 0),
            "channels_outside": (0, 1),
        },
    )


def _apply(sch: Any, anchor: Block, result: Block, limits: Limits, chosen: Parameters) -> None:
    sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    width, extent, together = anchor.spatial[-1], anchor.spatial[-3], chosen["blocks"]
    *outer, row_loop, channels = sch.get_loops(sch.get_sblock(result.name))
    row_tiles, row = split_overlapping(sch, row_loop, chosen["rows"], extent)
    lanes = min(width, limits.lanes)
    channel_tiles, block, vector, lane = sch.split(channels, [None, together, width // lanes, lanes])
    order = [*outer, row_tiles, channel_tiles]
    if chosen["channels_outside"]:
        order = [channel_tiles, *outer, row_tiles]
    alone = ([] if extent % chosen["rows"] == 0 else [row_tiles]) + (
        [] if result.spatial[-1] % (together * width) == 0 else [channel_tiles]
    )
    shared, serial = [loop for loop in order if loop not in alone], [loop for loop in order if loop in alone]
    if not shared:
        shared, serial = serial[-1:], serial[:-1]
    sch.reorder(*shared, *serial, row, block, vector, lane)
    for loop in (row, block, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    task = fused(sch, shared)
    sch.compute_at(sch.get_sblock(anchor.name), serial[-1] if serial else task, preserve_unit_loops=True)
    share(sch, task, anchor, limits)
    compute_tile(sch, anchor, 1 + len(serial), lanes, limits)
