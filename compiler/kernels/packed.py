"""Convolutions and products on packed weights: a register tile of MR rows by NR channels.

The accumulators of a tile stay in registers while the reduction runs; bias, activation and residual are
computed as the tile is written. Reaches about 90 % of a core's multiply-add peak on shapes that divide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import tvm_ffi
from tvm import tirx

from .analysis import Block, blocks_of
from .areas import Area, spaces_of
from .inline import inline_producers
from .limits import Limits
from .lowering import nodes_of
from .overlap import split_overlapping
from .peel import split_cut
from .prefetch import mark_for_prefetch
from .rule import ROWS_SHARED, Offer, Parameters
from .tails import mark_tail
from .threads import TileLoops, fused, share
from .tile import compute_tile

# Registers of a depthwise tile that hold weights and data, and rows that it has at least: inputs of rows overlap, and
# are best read once.
_DEPTHWISE_OPERANDS, _DEPTHWISE_ROWS = 18, 8
# Sums of so few products of integers take less time than to make bytes of them, which needs registers too.
_SHORT, _SHORT_SUMS = 8, 10
_MOST_UNROLLED = 49
_NARROWEST = 4  # lanes
_MOST_VECTORS = 4
# Costs, by another's: of widths of blocks that are taken instead of the usual one, and beyond which none is tried.
_FAR_BETTER, _WORSE = 0.9, 1.1
PREFETCH = 64  # rounds of the innermost loop ahead
PREFETCHES = (0, 16, PREFETCH)
_LINE = 64  # bytes of a cache line
_MANY_TAPS = 36  # of a filter whose data may fill the second-level cache
_FEW_TILES = 16  # of a depthwise layer, that each ask for the weights of others; more would ask for the same again
_MANY_WEIGHTS = 4  # bytes, for each of the data

ACCUMULATOR = "packed_accumulator"  # the block that this rule recognises
CONVERTED = "converted"  # the one that makes its data, of numbers that are stored in another type


def block_width(channels: int, limits: Limits) -> int:
    """NR: output channels of a tile, if no other number of vectors was chosen for them.

    Two vectors, which hide the latency of a multiply-add; channels for three take three, as of two tiles of two a
    vector would be computed for nothing. Few channels take a narrower vector, of which every instruction set has some:
    as fast, on fewer weights.
    """
    if channels > limits.lanes:
        vectors = limits.block_vectors or (3 if -(-channels // limits.lanes) == 3 else 2)
        return vectors * limits.lanes
    narrow = max(_NARROWEST, 1 << (channels - 1).bit_length())
    return min(narrow, limits.lanes)


def block_choices(channels: int, lines: int, rows: int, limits: Limits, of_bytes: bool = False) -> tuple[int, ...]:
    """Vectors that a block may have: the default, then others that may be as fast.

    The default is that of `block_width`, unless another number is far better: more of them where there are few rows,
    whose sums hide no latency, or three where two waste much of the last block. Of bytes, three do not fill a vector.

    Args:
        lines, rows: of the image that tiles cover.
        of_bytes: whether the numbers are bytes.
    """
    vectors = -(-channels // limits.lanes)

    def cost(count: int) -> float:
        area = Area(lines, rows, count * limits.lanes)
        return area.cost(limits, limits.by_element) * -(-vectors // count)

    derived = block_width(channels, limits) // limits.lanes
    costs = {count: cost(count) for count in range(1, min(vectors, _MOST_VECTORS) + 1)}
    filled = -(-vectors // derived) * derived  # with zeros too, of which others may not have more
    best = min((n for n in costs if -(-vectors // n) * n <= filled and (n != 3 or not of_bytes)), key=costs.__getitem__)
    default = best if costs[best] < _FAR_BETTER * costs[derived] else derived
    return (default, *(n for n in costs if n != default and costs[n] <= _WORSE * costs[default]))


def takes_elements(anchor: Block, limits: Limits) -> bool:
    """Whether the rows' factors come a vector at a time: they lie side by side along the last reduction axis."""
    return limits.by_element and len(anchor.reduction) != 2 and anchor.reduction[-1] >= limits.lanes


def packed_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by the pass that packs weights, with the epilogue that was fused to them."""
    blocks = blocks_of(sch)
    anchors = [b for b in blocks if b.name.startswith(ACCUMULATOR)]
    if len(anchors) != 1 or sum(bool(b.reduction) for b in blocks) != 1:
        return None
    anchor = anchors[0]
    limits = _limits(sch, anchor, limits)
    # Once for all products of an element, unless vectors run along the channels anyway.
    apart = len(anchor.reduction) != 2 and anchor.reduction[-1] >= min(limits.lanes, _NARROWEST)
    by_element = takes_elements(anchor, limits)
    converted = [b for b in blocks if b.name == CONVERTED and apart and (by_element or _converts(sch, b))]
    inline_producers(sch, [b for b in blocks if b not in converted])
    rest = [b for b in blocks_of(sch) if not b.reduction and b not in converted]
    if len(rest) != 1:
        return None
    width = anchor.spatial[-1]
    depthwise = len(anchor.reduction) == 2
    room, cap = limits, None
    weights = _operands(sch, anchor)[1]
    if weights.dtype == "int32":
        room = replace(limits, registers=limits.registers - limits.dot_registers)
        if math.prod(anchor.reduction) <= _SHORT:
            cap = max(1, _SHORT_SUMS * limits.lanes // width)
    if depthwise:
        cap = max(_DEPTHWISE_ROWS, limits.registers - _DEPTHWISE_OPERANDS)
    area = Area(_lines(sch, anchor), anchor.spatial[-3], width)
    lines, rows = area.tile(room, cap, by_element)
    if lines == 1 and weights.nbytes > 2 * limits.l1:  # most is read from beyond L1 again for each tile
        lines = area.whole_lines(rows, room, cap, by_element)
    near = area.tiles_near((lines, rows), room, by_element)
    tiles = area.passes((lines, rows))
    outside = _channels_outside(sch, anchor, tiles, limits)
    few = math.prod(anchor.spatial[:-3]) * tiles <= _FEW_TILES
    asks = not depthwise or (outside and few and weights.itemsize == 4)
    written_out = math.prod(anchor.reduction[1:])  # rounds of the loops inside the first
    unrolled = depthwise and math.prod(anchor.reduction) <= _MOST_UNROLLED

    def fits(chosen: Parameters) -> bool:
        tile = (chosen["lines"], chosen["rows"])
        return tile in near and not (chosen["cut"] and area.divides(tile))

    return Offer(
        lambda chosen: _apply(sch, anchor, rest[0], limits, chosen, bool(converted)),
        {
            "rows": rows,
            "lines": lines,
            # Whether the last tile has what is left, and does not overlap the one before it.
            "cut": int(rows == area.rows and not area.divides((lines, rows))),
            "unrolled": int(unrolled),
            "channels_outside": int(outside),
            ROWS_SHARED: int(_rows_shared(sch, anchor)),
            "prefetch": PREFETCH if asks else 0,
        },
        {
            **spaces_of(near),
            "cut": (0, 1),
            "unrolled": (0, 1) if 1 < written_out <= _MOST_UNROLLED else (int(unrolled),),
            "channels_outside": (0, 1),
            ROWS_SHARED: (0, 1),
            "prefetch": PREFETCHES,
        },
        fits,
    )


def _lines(sch: Any, anchor: Block) -> int:
    """Rows of an image, of which a tile may have several; 1 where products or filters have weights of their own."""
    if len(anchor.spatial) < 4 or len(anchor.reduction) == 2 or _products(sch, anchor) > 1:
        return 1
    return anchor.spatial[-4]


def _limits(sch: Any, anchor: Block, limits: Limits) -> Limits:
    """The limits for the type of the sums: a vector holds twice as many of half the size."""
    dtype = str(sch.get(sch.get_sblock(anchor.name)).writes[0].source.ty.dtype)
    return replace(limits, lanes=2 * limits.lanes) if dtype == "float16" else limits


def _converts(sch: Any, block: Block) -> bool:
    """Whether a block does more than to take bits as they are."""
    return bool(nodes_of(sch.get(sch.get_sblock(block.name)).body.value, tirx.Cast))


def _rows_shared(sch: Any, anchor: Block) -> bool:
    """Whether threads share rows, not channels: unless reading all weights takes much longer than reading all data."""
    data, weights = (buffer.nbytes for buffer in _operands(sch, anchor))
    return weights <= _MANY_WEIGHTS * data


def _channels_outside(sch: Any, anchor: Block, tiles: int, limits: Limits) -> bool:
    """Whether the loop over channels goes around those over rows.

    It reads the data again for each block of channels; the other way round, each tile of rows reads all weights
    again. What does not fit half of the second-level cache comes from beyond it every time. Each block of a depthwise
    convolution reads data of its own; if these are whole lines of the cache, its few weights best stay in registers.
    But much data, of which little is computed, may come from beyond, and few processors foresee such strides.

    Args:
        tiles: that cover an image's lines and columns.
    """
    if len(anchor.reduction) == 2:
        images = _operands(sch, anchor)[0]
        near = images.nbytes <= limits.l2 * math.prod(anchor.reduction) // _MANY_TAPS
        return (near or limits.foresees_strides) and anchor.spatial[-1] * images.itemsize >= _LINE
    data, weights = (buffer.nbytes for buffer in _operands(sch, anchor))
    products = _products(sch, anchor)
    passes = math.prod(anchor.spatial[:-3]) // _lines(sch, anchor) // products * tiles

    def read(size: int, times: int) -> int:
        return size if size <= limits.l2 // 2 else size * times

    data, weights = data // products, weights // products
    return read(data, anchor.spatial[-2]) + read(weights, 1) < read(data, 1) + read(weights, passes)


@dataclass(frozen=True)
class _Operand:
    size: int  # elements
    dtype: str

    @property
    def itemsize(self) -> int:
        return int(tvm_ffi.dtype(self.dtype).itemsize)

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize


def _operands(sch: Any, anchor: Block) -> list[_Operand]:
    """The data and the weights."""
    types = [region.source.ty for region in list(sch.get(sch.get_sblock(anchor.name)).reads)[:2]]
    return [_Operand(math.prod(int(d) for d in ty.shape), str(ty.dtype)) for ty in types]


def _products(sch: Any, anchor: Block) -> int:
    """How many products there are, each with weights of its own: as many as the first axis is long, or one."""
    return _operands(sch, anchor)[1].size // (math.prod(anchor.spatial[-2:]) * math.prod(anchor.reduction))


def _writes_bytes(sch: Any, block: Any) -> bool:
    return _type(sch.get(block).writes[0].source) in ("int8", "uint8")


def _type(buffer: Any) -> str:
    return str(buffer.ty.dtype)


def _apply(sch: Any, anchor: Block, result: Block, limits: Limits, chosen: Parameters, converted: bool) -> None:
    out = sch.get_sblock(result.name)
    weights = list(sch.get(sch.get_sblock(anchor.name)).reads)[-1].source
    sch.set_scope(sch.get_sblock(anchor.name), 0, "local")
    width, extent, mr = anchor.spatial[-1], anchor.spatial[-3], chosen["rows"]
    *outer, rows, channels = sch.get_loops(out)
    divide = split_cut if chosen["cut"] else split_overlapping
    row_tiles, row = divide(sch, rows, mr, extent)
    tile, uneven = [row], [row_tiles] if extent % mr else []
    if (count := chosen["lines"]) > 1:
        outer[-1], line = divide(sch, outer[-1], count, anchor.spatial[-4])
        tile.insert(0, line)
        uneven += [outer[-1]] if anchor.spatial[-4] % count else []
    pairs = len(anchor.reduction) == 2 and _type(weights) in ("int8", "int16")  # in vectors of 16 bits an element
    lanes = width if pairs else min(width, limits.lanes)
    # Bytes are written in as few vectors as there are; their floats are taken apart again where they become bytes.
    written = width if _writes_bytes(sch, out) and width & width - 1 == 0 else lanes
    channel_tiles, vector, lane = sch.split(channels, [None, width // written, written])
    whole_channels = result.spatial[-1] % width == 0
    overlapping, narrower = ([], uneven) if chosen["cut"] else (uneven, [])
    if not whole_channels:
        narrower.append(channel_tiles)
        mark_tail(sch, channel_tiles)

    first = 1 if _products(sch, anchor) > 1 else 0
    loops = TileLoops(outer[:first], [*outer[first:], row_tiles], channel_tiles, overlapping, narrower)
    around, shared, serial = loops.divided(sch, bool(chosen["channels_outside"]), bool(chosen[ROWS_SHARED]))
    sch.reorder(*around, *shared, *serial, *tile, vector, lane)
    for loop in [*tile, vector]:
        sch.unroll(loop)
    sch.vectorize(lane)
    whole, task = fused(sch, around) if around else None, fused(sch, shared)
    sch.compute_at(sch.get_sblock(anchor.name), serial[-1] if serial else task, preserve_unit_loops=True)
    share(sch, task, anchor, limits, whole)
    by_element = takes_elements(anchor, limits)
    factors = sch.get_sblock(CONVERTED) if converted else None
    depth = bool(around) + 1 + len(serial)
    compute_tile(sch, anchor, depth, lanes, limits, bool(chosen["unrolled"]), by_element, factors)
    if chosen["prefetch"]:
        innermost = sch.get_loops(sch.get_sblock(f"{anchor.name}_update"))[depth - 1 + len(anchor.reduction)]
        mark_for_prefetch(sch, innermost, weights.name, chosen["prefetch"])
