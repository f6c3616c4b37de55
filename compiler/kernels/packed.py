"""Convolutions and products on packed weights: a register tile of MR rows by NR channels.

The accumulators of a tile stay in registers while the reduction runs; bias, activation and residual are
computed as the tile is written. Reaches about 90 % of a core's multiply-add peak on shapes that divide.
"""

from __future__ import annotations

import math
from typing import Any

from .analysis import Block, blocks_of
from .generic import inline_producers
from .limits import Limits
from .overlap import split_overlapping
from .rule import Offer, Parameters
from .tile import compute_tile

# Rows of a depthwise tile, whose inputs overlap and are best read once.
_DEPTHWISE_ROWS = 8
_MOST_UNROLLED = 49

ACCUMULATOR = "packed_accumulator"  # the blocks that this rule recognises
# Products of Winograd's transforms, [row, position, block, lane]: one product a position, whose rows stand first.
BY_POSITION = f"{ACCUMULATOR}_by_position"


def block_width(channels: int, limits: Limits) -> int:
    """NR: output channels of a tile. Two vectors, which hide the latency of a multiply-add; one if that is enough."""
    return limits.lanes if channels <= limits.lanes else 2 * limits.lanes


def rows_of_tile(rows: int, width: int, limits: Limits, cap: int | None = None) -> int:
    """MR: as many rows as there are registers for, at most `cap`, if possible a divisor of `rows`."""
    vectors = max(1, width // limits.lanes)
    most = max(1, (limits.registers - 4) // vectors)
    most = min(most, cap or most)
    divisor = next(d for d in range(min(rows, most), 0, -1) if rows % d == 0)
    return divisor if 2 * divisor > most or divisor == rows else min(rows, most)


def packed_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by the pass that packs weights, with the epilogue that was fused to them."""
    blocks = blocks_of(sch)
    anchors = [b for b in blocks if b.name.startswith(ACCUMULATOR)]
    if len(anchors) != 1 or sum(bool(b.reduction) for b in blocks) != 1:
        return None
    anchor = anchors[0]
    inline_producers(sch, blocks)
    rest = [b for b in blocks_of(sch) if not b.reduction]
    if len(rest) != 1:
        return None
    width, extent = anchor.spatial[-1], anchor.spatial[_row_axis(anchor)]
    depthwise = len(anchor.reduction) == 2
    rows = rows_of_tile(extent, width, limits, _DEPTHWISE_ROWS if depthwise else None)
    unrolled = depthwise and math.prod(anchor.reduction) <= _MOST_UNROLLED
    return Offer(
        lambda chosen: _apply(sch, anchor, rest[0], limits, chosen),
        {
            "rows": rows,
            "unrolled": int(unrolled),
            "channels_outside": int(_channels_outside(sch, anchor, rows, limits)),
        },
        {"rows": tuple(range(1, min(extent, limits.registers) + 1)), "unrolled": (0, 1), "channels_outside": (0, 1)},
    )


def _channels_outside(sch: Any, anchor: Block, rows: int, limits: Limits) -> bool:
    """Whether the loop over channels goes around that over rows.

    It reads the data again for each block of channels; the other way round, each row of tiles reads all weights
    again. What does not fit half of the second-level cache comes from beyond it every time.
    """
    by_position = anchor.name.startswith(BY_POSITION)
    axis, blocks = _row_axis(anchor), anchor.spatial[-2]
    passes = math.prod(anchor.spatial[:axis]) * -(-anchor.spatial[axis] // rows)
    data, weights = (
        math.prod(int(d) for d in region.source.ty.shape) * 4 // (anchor.spatial[1] if by_position else 1)
        for region in list(sch.get(sch.get_sblock(anchor.name)).reads)[:2]
    )

    def read(size: int, times: int) -> int:
        return size if size <= limits.l2 // 2 else size * times

    return read(data, blocks) + read(weights, 1) < read(data, 1) + read(weights, passes)


def _apply(sch: Any, anchor: Block, result: Block, limits: Limits, chosen: Parameters) -> None:
    out = sch.get_sblock(result.name)
    sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    width, extent, mr = anchor.spatial[-1], anchor.spatial[_row_axis(anchor)], chosen["rows"]
    *outer, channels = sch.get_loops(out)
    rows = outer.pop(_row_axis(anchor))
    row_tiles, row = split_overlapping(sch, rows, mr, extent)
    lanes = min(width, limits.lanes)
    channel_tiles, vector, lane = sch.split(channels, [None, width // lanes, lanes])
    whole_rows, whole_channels = extent % mr == 0, result.spatial[-1] % width == 0

    # Loops whose last tile overlaps or is narrower stay by themselves; the others are shared by threads.
    order = [*outer, row_tiles, channel_tiles]
    if chosen["channels_outside"]:
        batch = 1 if anchor.name.startswith(BY_POSITION) else 0
        order = [*outer[:batch], channel_tiles, *outer[batch:], row_tiles]
    alone = ([] if whole_rows else [row_tiles]) + ([] if whole_channels else [channel_tiles])
    shared, serial = [loop for loop in order if loop not in alone], [loop for loop in order if loop in alone]
    if not shared:
        shared, serial = serial[-1:], serial[:-1]
    sch.reorder(*shared, *serial, row, vector, lane)
    sch.unroll(row)
    sch.unroll(vector)
    sch.vectorize(lane)
    task = sch.fuse(*shared) if len(shared) > 1 else shared[0]
    at, depth = serial[-1] if serial else task, 1 + len(serial)
    compute_tile(sch, anchor, at, depth, lanes, task, limits, bool(chosen["unrolled"]))


def _row_axis(anchor: Block) -> int:
    """The axis of a tile's rows in [..., block, lane]."""
    return 0 if anchor.name.startswith(BY_POSITION) else len(anchor.spatial) - 3
