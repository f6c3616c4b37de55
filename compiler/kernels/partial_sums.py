"""Products of 8-bit integers where no instruction sums products of neighbours in 32 bits, as on plain NEON.

Vectors run along the sum: of data and of one output channel's weights 16 bytes each are multiplied to sums of two,
in 16 bits, of which neighbours are added to four partial sums in 32 bits. Of small weights two such vectors make sums
of four in 16 bits. A tile of MR rows by NR channels of these
stays in registers; at its end the four of each element become one, and the epilogue is computed.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx

from .analysis import Block
from .inline import sums_and_result
from .limits import Limits
from .lowering import nodes_of
from .overlap import split_overlapping
from .rule import Offer, Parameters
from .tails import mark_tail
from .threads import LEAST_TASKS, fused, share
from .tile import compute_tile

PARTIAL = "partial_sums"  # the block that this rule recognises, […, row, block, channel, partial sum]
_WORDS = 4  # partial sums of an element
_STEP = {1: 3, 2: 5}  # instructions for a round of so many vectors, of 16 products each
_SUMS = 2  # of so many registers one has sums, where LLVM puts many products before the additions
_MANY = 32  # registers of the instruction set where it does not
FEW = 8  # rounds that are written out
_MOST_KEPT = 24  # vectors that LLVM may keep from one tile to the next, as it does if they are the same
_WIDTHS = (8, 4)  # channels of a tile
_WRITTEN = {8: 2.0, 4: 2.75}  # instructions for an element's epilogue
_PLACES = 12  # instructions of a tile for places in memory


def tile_of(rows: int, channels: int, rounds: int, vectors: int, limits: Limits) -> tuple[int, int]:
    """(MR, NR) with the fewest instructions.

    Args:
        rows: extent of the axis of which a tile takes MR.
        rounds: of an element's sum.
        vectors: of data, of a round; two are loaded by one instruction.
    """

    def cost(tile: tuple[int, int]) -> float:
        m, n = tile
        each = rounds * (_STEP[vectors] * m * n + m + n + 3) + m * n * _WRITTEN[n] + _PLACES
        return each * -(-rows // m) * -(-channels // n)

    fitting = [(m, n) for n in _WIDTHS for m in range(1, rows + 1) if m <= _most_rows(n, vectors, limits)]
    return min(fitting, key=cost)


def _most_rows(width: int, vectors: int, limits: Limits) -> int:
    """MR for which the registers have room: beside the sums the data or the weights of a round, and one of the other's
    with its product."""

    def fits(rows: int) -> bool:
        if limits.registers < _MANY:
            return rows * width <= limits.registers // _SUMS
        return rows * width + vectors * (min(rows, width) + 1) + 1 <= limits.registers

    return max((rows for rows in range(1, limits.registers) if fits(rows)), default=1)


def partial_sums_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by the pass that packs weights so, with the epilogue that was fused to them."""
    found = sums_and_result(sch, PARTIAL)
    if found is None:
        return None
    anchor, result = found
    extent, width = anchor.spatial[-4], anchor.spatial[-2]
    vectors, weights = _of_weights(sch, anchor)
    most = _most_rows(width, vectors, limits)
    rows, _ = tile_of(extent, width, math.prod(anchor.reduction), vectors, limits)
    return Offer(
        lambda chosen: _apply(sch, anchor, result, limits, chosen),
        {"rows": min(rows, most), "channels_outside": int(weights > limits.l2 // 2)},
        {"rows": tuple(range(1, min(extent, most) + 1)), "channels_outside": (0, 1)},
    )


def _of_weights(sch: Any, anchor: Block) -> tuple[int, int]:
    """Vectors of a round, and bytes of all weights."""
    shape = [int(d) for d in list(sch.get(sch.get_sblock(anchor.name)).reads)[-1].source.ty.shape]
    return shape[-2], 4 * math.prod(shape)


def _ends_alone(sch: Any, anchor: Block) -> bool:
    """Whether the last round has one vector, where others have two."""
    return bool(nodes_of(sch.get(sch.get_sblock(anchor.name)).body, tirx.LT))


def _shared(sch: Any, order: list[Any], alone: list[Any]) -> tuple[list[Any], list[Any]]:
    """The first loops, which are fused for threads, and the rest, whose places in memory cost less to find.

    Args:
        alone: loops that cannot be fused, as their last tile overlaps or is narrower.
    """
    order = [loop for loop in order if loop not in alone] + [loop for loop in order if loop in alone]
    count, number = 1, 0
    while number < len(order) and (number == 0 or (count < LEAST_TASKS and order[number] not in alone)):
        count *= int(sch.get(order[number]).extent)
        number += 1
    return order[:number], order[number:]


def _apply(sch: Any, anchor: Block, result: Block, limits: Limits, chosen: Parameters) -> None:
    out = sch.get_sblock(result.name)
    sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    extent, width, mr = anchor.spatial[-4], anchor.spatial[-2], chosen["rows"]
    *outer, rows, channels = sch.get_loops(out)
    row_tiles, row = split_overlapping(sch, rows, mr, extent)
    channel_tiles, lane = sch.split(channels, [None, width])
    alone = ([row_tiles] if extent % mr else []) + ([channel_tiles] if result.spatial[-1] % width else [])
    order = [*outer, row_tiles, channel_tiles]
    if chosen["channels_outside"]:
        order = [channel_tiles, *outer, row_tiles]
    shared, serial = _shared(sch, order, alone)
    sch.reorder(*shared, *serial, row, lane)
    if channel_tiles in alone:
        mark_tail(sch, channel_tiles)
    sch.unroll(row)
    sch.vectorize(lane)
    task = fused(sch, shared)
    sch.compute_at(sch.get_sblock(anchor.name), serial[-1] if serial else task, preserve_unit_loops=True)
    ends_alone, (vectors, _) = _ends_alone(sch, anchor), _of_weights(sch, anchor)
    share(sch, task, anchor, limits)
    compute_tile(sch, anchor, 1 + len(serial), _WORDS, limits)
    loops = sch.get_loops(sch.get_sblock(f"{anchor.name}_update"))[len(serial) + len(anchor.reduction) :]
    rounds, tile = loops[0], loops[1:]
    if mr < width:  # the data of all rows stay in registers, and each channel's weights are loaded once
        sch.reorder(tile[-3], tile[-5])
    inside = serial[-1] if serial else None
    kept = 0 if inside is None else mr * vectors * anchor.reduction[-1] if inside is channel_tiles else _MOST_KEPT + 1
    if ends_alone or (anchor.reduction[-1] <= FEW and kept <= _MOST_KEPT):
        sch.unroll(rounds)
