"""Convolutions of integers with one filter a channel, in vectors of as many bytes as a register holds.

Their words of data come out of whole vectors of bytes, one for each tap (wide_words.py), and their sums become whole
vectors of bytes again.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import sym, tirx

from .analysis import Block
from .inline import sums_and_result
from .limits import Limits
from .overlap import split_overlapping
from .peel import mark_for_peeling
from .rule import ROWS_SHARED, Offer, Parameters
from .tails import mark_tail
from .threads import LEAST_TASKS, fused, share
from .tile import compute_tile
from .weight_limit import WORD

ACCUMULATOR = "words_of_taps"  # the block that this rule recognises, [N, H, W, C] by words and columns
# Places along a row of an unrolled tile, of which neighbours share words of data: by default, and to try.
_PLACES, _MOST_PLACES = 8, 16
# A place of a long tile makes words for as many columns as the stride; by this share more, if fewer places to a tile
# leave registers free.
_MORE = 0.25
_MOST_TAPS = 49
# Vectors of the channels that are left which take as long as a whole tile, which then begins early.
_LONG_TAIL = 3


def is_wide(channels: int, taps: int, limits: Limits) -> bool:
    """Whether there are channels enough for a vector of bytes, and a filter small enough to be written out."""
    return channels >= WORD * limits.lanes and taps <= _MOST_TAPS


def depthwise_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by the pass that packs weights so, with the epilogue that was fused to them."""
    found = sums_and_result(sch, ACCUMULATOR)
    if found is None:
        return None
    anchor, result = found
    columns, filter_columns, stride = anchor.spatial[-2], anchor.reduction[-1], _stride(sch, anchor)
    choices = range(1, min(columns, _MOST_PLACES) + 1)
    worthwhile = max(1, min(_PLACES, math.ceil((filter_columns - stride) / (_MORE * stride))))

    def words(places: int) -> int:
        """Words that are made for a row, in which the tiles overlap."""
        return -(-columns // places) * ((places - 1) * stride + filter_columns)

    places = min((count for count in choices if count <= worthwhile), key=words)
    tasks = math.prod(anchor.spatial[:2]) // _together(sch, anchor)
    if columns % places == 0:
        tasks *= columns // places
    return Offer(
        lambda chosen: _apply(sch, anchor, result, limits, chosen),
        {"places": places, ROWS_SHARED: int(tasks >= LEAST_TASKS)},
        {"places": tuple(choices), ROWS_SHARED: (0, 1)},
    )


def _apply(sch: Any, anchor: Block, result: Block, limits: Limits, chosen: Parameters) -> None:
    out = sch.get_sblock(result.name)
    sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    width, (_, _, columns, channels) = WORD * limits.lanes, anchor.spatial
    images, lines, across, depth = sch.get_loops(out)
    groups, line = sch.split(lines, [None, _together(sch, anchor)])
    tiles, place = split_overlapping(sch, across, chosen["places"], columns)
    tail = channels % width
    cut = tail and _vectors(tail, limits.lanes) < _LONG_TAIL
    if cut:
        blocks, lane = sch.split(depth, [None, width])
        mark_tail(sch, blocks)
        mark_for_peeling(sch, blocks)
    else:
        blocks, lane = split_overlapping(sch, depth, width, channels)
    alone = ([blocks] if tail else []) + ([tiles] if columns % chosen["places"] else [])
    rows = [loop for loop in (images, groups, tiles) if loop not in alone]
    inside = chosen[ROWS_SHARED] and not tail
    shared = rows if inside else [loop for loop in (images, blocks, groups, tiles) if loop not in alone]
    sch.reorder(*([blocks] if inside else []), *shared, *alone, place, line, lane)
    task = fused(sch, shared)
    sch.compute_at(sch.get_sblock(anchor.name), line, preserve_unit_loops=True)
    for loop in (place, line):
        sch.unroll(loop)
    sch.vectorize(lane)
    depth = int(inside) + 1 + len(alone) + 2
    share(sch, task, anchor, limits, blocks if inside else None)
    compute_tile(sch, anchor, depth, width, limits, unroll_reduction=True)
    sch.unroll(sch.get_loops(sch.get_sblock(f"{anchor.name}_update"))[depth])


def _stride(sch: Any, anchor: Block) -> int:
    """Columns of the data between two of the result; one, if their places are not known."""
    block = sch.get(sch.get_sblock(anchor.name))
    places = [axis.var for axis in block.iter_vars if axis.iter_type == tirx.IterVar.DataPar]
    coefficients = sym.detect_linear_equation(block.reads[0].region[2].min, [places[2]])
    known = len(coefficients) == 2 and isinstance(coefficients[0], tirx.IntImm)
    return max(1, int(coefficients[0].value)) if known else 1  # a single column may have no place at all


def _together(sch: Any, anchor: Block) -> int:
    """Lines that are computed together, for which there are weights."""
    return int(list(sch.get(sch.get_sblock(anchor.name)).reads)[-1].source.ty.shape[0])


def _vectors(tail: int, lanes: int) -> int:
    """Vectors of powers of two that `cut_tails` makes of so many channels, in registers."""
    return sum(max(1, (1 << bit) // lanes) for bit in range(tail.bit_length()) if tail >> bit & 1)
