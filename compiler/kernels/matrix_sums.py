"""Products of 8-bit integers where one instruction multiplies two rows of data by two columns of weights (Armv8.6).

A vector has the four sums of two rows and two output channels. A tile of MR rows by NR channels of these stays in
registers; at its end they are taken apart, and the epilogue is computed.
"""

from __future__ import annotations

import math
from typing import Any

from .analysis import Block
from .inline import sums_and_result
from .limits import Limits
from .peel import mark_for_peeling
from .rule import Offer, Parameters
from .tails import mark_tail
from .threads import LEAST_TASKS, fused, share
from .tile import compute_tile

MATRICES = "matrix_sums"  # the block that this rule recognises, […, pair of rows, block, pair of channels, 4]
STEP = 8  # elements of a row that are multiplied at once
_WIDTHS = (16, 8, 4)  # channels of a tile
_MOST_ROWS = 16
_WRITTEN = 2.0  # instructions for four elements' way out of their vectors and for their epilogue
_PLACES = 12  # instructions of a tile for places in memory


def tile_of(rows: int, channels: int, steps: int, limits: Limits) -> tuple[int, int]:
    """(MR, NR) with the fewest instructions; both are even.

    Args:
        rows: extent of the axis of which a tile takes MR.
        steps: of an element's sum.
    """
    heights = range(2, min(_MOST_ROWS, rows + rows % 2) + 1, 2)
    fitting = [(m, n) for n in _WIDTHS for m in heights if _fits(m, n, limits)]
    return min(fitting, key=lambda tile: _cost(tile, rows, channels, steps))


def _cost(tile: tuple[int, int], rows: int, channels: int, steps: int) -> float:
    pairs, width = tile[0] // 2, tile[1]
    each = steps * (pairs * width / 2 + 2 * pairs + width / 4 + 3) + pairs * width * _WRITTEN + _PLACES
    return each * -(-rows // tile[0]) * -(-channels // width)


def _fits(height: int, width: int, limits: Limits) -> bool:
    """Whether the registers have room: beside the sums for the data or the weights of a step, and for one of both."""
    pairs, columns = height // 2, width // 2
    return pairs * columns + min(pairs, columns) + 2 <= limits.registers


def matrix_sums_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by the pass that packs weights so, with the epilogue that was fused to them."""
    found = sums_and_result(sch, MATRICES)
    if found is None:
        return None
    anchor, result = found
    *_, rows, channels = result.spatial
    *_, pairs, _blocks, columns, _places = anchor.spatial
    heights = [m for m in range(2, 2 * pairs + 1, 2) if 2 * pairs % m == 0 and _fits(m, 2 * columns, limits)]
    steps = math.prod(anchor.reduction)
    best = min(heights, key=lambda height: _cost((height, 2 * columns), rows, channels, steps))
    weights = list(sch.get(sch.get_sblock(anchor.name)).reads)[-1].source.ty.shape
    outside = int(4 * math.prod(int(d) for d in weights) > limits.l2 // 2)
    return Offer(
        lambda chosen: _apply(sch, anchor, result, limits, chosen),
        {"rows": best, "channels_outside": outside},
        {"rows": tuple(heights), "channels_outside": (0, 1)},
    )


def _shared(sch: Any, order: list[Any], alone: list[Any]) -> tuple[list[Any], list[Any]]:
    """Loops that are fused for threads, and the rest in its order: vectors of data that LLVM keeps from one tile to the
    next are fewer than those of weights, and need not be put together again.

    Args:
        alone: loops that cannot be fused, as their last tile is smaller.
    """
    shared: list[Any] = []
    for loop in order:
        if loop not in alone and (not shared or math.prod(int(sch.get(one).extent) for one in shared) < LEAST_TASKS):
            shared.append(loop)
    shared = shared or order[:1]
    return shared, [loop for loop in order if loop not in shared]


def _apply(sch: Any, anchor: Block, result: Block, limits: Limits, chosen: Parameters) -> None:
    out = sch.get_sblock(result.name)
    sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    (extent, channel_count), width, height = result.spatial[-2:], 2 * anchor.spatial[-2], chosen["rows"]
    *outer, rows, channels = sch.get_loops(out)
    row_tiles, row = sch.split(rows, [None, height])
    channel_tiles, lane = sch.split(channels, [None, width])
    order = [*outer, row_tiles, channel_tiles]
    if chosen["channels_outside"]:
        order = [channel_tiles, *outer, row_tiles]
    alone = ([row_tiles] if extent % height else []) + ([channel_tiles] if channel_count % width else [])
    shared, serial = _shared(sch, order, alone)
    sch.reorder(*shared, *serial, row, lane)
    if channel_tiles in alone:
        mark_tail(sch, channel_tiles)
    if row_tiles in serial:
        mark_for_peeling(sch, row_tiles)
    sch.unroll(row)
    sch.vectorize(lane)
    task = fused(sch, shared)
    sch.compute_at(sch.get_sblock(anchor.name), serial[-1] if serial else task, preserve_unit_loops=True)
    share(sch, task, anchor, limits)
    compute_tile(sch, anchor, 1 + len(serial), anchor.spatial[-1], limits)
