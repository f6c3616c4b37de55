"""Winograd convolutions: tiles of the input transformed, multiplied by position, and transformed back.

The pass that makes these programs (passes/winograd.py) says what they compute. The image is cut into bands of
whole rows of tiles. What a band needs between the three stages stays in cache: V, its transformed tiles, and M,
the sums of products. A transform keeps one tile of one vector of channels in registers; its loops over the tile
are written out, so that the choice of a formula by position is gone before code is generated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tvm_ffi

from .analysis import Block, blocks_of
from .areas import Area, spaces_of
from .inline import inline_producers
from .limits import Limits
from .overlap import split_overlapping
from .packed import PREFETCH, PREFETCHES, takes_elements
from .peel import split_cut
from .prefetch import mark_for_prefetch
from .rule import Offer, Parameters, values_up_to
from .threads import share
from .tile import compute_tile
from .vectors import lanes_of

# The blocks of such a program, in order; the result and its epilogue follow.
HALF_INPUT = "winograd_half_input"  # [N, TH, TW, M+2, M+2, C]: tiles of the input, transformed along one axis
# Up to the products, all tiles of an image may be one row of them, TH and TW being 1 and the product of both.
INPUT = "winograd_input"  # V, [M+2, M+2, N, TH, TW, C]
SUMS = "winograd_sums"  # [M+2, M+2, N, TH, TW, O / NR, NR]
PRODUCTS = "winograd_products"  # M, [M+2, M+2, N, TH, TW, O]
HALF_OUTPUT = "winograd_half_output"  # [N, TH, TW, M, M+2, O]
_STAGES = (HALF_INPUT, INPUT, SUMS, PRODUCTS, HALF_OUTPUT)

_BANDS = 4  # at least so many are shared by threads; else each stage is
_ALIKE = 1.07  # times of bands that the estimate cannot tell apart


def winograd_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs made by the pass for Winograd convolutions, with the epilogue that was fused to them."""
    blocks = blocks_of(sch)
    stages = {b.name: b for b in blocks if b.name in _STAGES}
    if len(stages) != len(_STAGES):
        return None
    inline_producers(sch, [b for b in blocks if b.name not in stages])
    rest = [b for b in blocks_of(sch) if b.name not in stages]
    if len(rest) != 1:
        return None
    sums = stages[SUMS]
    tile_rows = sums.spatial[3]
    by_element = takes_elements(sums, limits)
    all_rows = stages[HALF_INPUT].spatial[1]
    band = _rows_of_band(sums, limits, by_element) if tile_rows == all_rows else all_rows
    area = _area(band, sums)
    lines, rows = area.tile(limits, by_element=by_element)
    near = replace(area, lines=tile_rows).tiles_near((lines, rows), limits, by_element)

    def fits(chosen: Parameters) -> bool:
        tile, bands = (chosen["lines"], chosen["rows"]), replace(area, lines=min(chosen["band"], tile_rows))
        return tile in near and _divides(chosen, tile_rows) and not (chosen["cut"] and bands.divides(tile))

    return Offer(
        lambda chosen: _apply(sch, stages, rest[0], limits, chosen),
        {"rows": rows, "lines": lines, "cut": 0, "band": band, "channels_outside": 0, "prefetch": PREFETCH},
        {
            **spaces_of(near),
            "cut": (0, 1),  # see packed.py
            "band": tuple(sorted({*values_up_to(tile_rows, band), tile_rows}))
            if tile_rows == all_rows
            else (all_rows,),
            "channels_outside": (0, 1),  # whether the loop over channels goes around that over rows
            "prefetch": PREFETCHES,
        },
        fits,
    )


def _divides(chosen: Parameters, tile_rows: int) -> bool:
    """Whether every tile of several lines finds them in its band."""
    return chosen["lines"] == 1 or (chosen["lines"] <= chosen["band"] and tile_rows % chosen["band"] == 0)


def _rows_of_band(sums: Block, limits: Limits, by_element: bool) -> int:
    """Rows of tiles in a band, for the least time by an estimate of multiplying and of moving data.

    Every band reads the weights, and its last row again where rows are left over. One that outgrows half of the
    second-level cache writes and reads V and M beyond it; one that outgrew it twice would go to memory. Of bands
    that are alike the smallest leaves most of the cache to others.
    """
    a, _a, n, tile_rows, tile_columns, blocks, width = sums.spatial
    (inputs,) = sums.reduction
    near, beyond, _farthest = limits.moving
    weights = a * a * inputs * blocks * width
    row = a * a * tile_columns * (inputs + blocks * width)

    def cycles(band: int) -> float:
        bands = n * -(-tile_rows // band)
        area = _area(band, sums)
        multiplying = area.cost(limits, by_element) * (band // area.lines) * a * a * inputs * blocks / 2
        moved = bands * weights * (near if 4 * weights <= limits.l2 // 2 else beyond)
        if 4 * band * row > limits.l2 // 2:
            moved += 2 * n * tile_rows * row * beyond
        return bands * multiplying + moved / limits.lanes

    most = max(1, min(tile_rows, limits.l2 // (2 * row)))
    estimates = {band: cycles(band) for band in range(1, most + 1)}
    return next(band for band, estimate in estimates.items() if estimate <= _ALIKE * min(estimates.values()))


def _area(band: int, sums: Block) -> Area:
    """What register tiles cover: a whole band if all bands are full, else a row of it."""
    tile_rows, tile_columns, _blocks, width = sums.spatial[3:]
    return Area(min(band, tile_rows) if tile_rows % band == 0 else 1, tile_columns, width)


def _apply(sch: Any, stages: dict[str, Block], result: Block, limits: Limits, chosen: Parameters) -> None:
    for name in (HALF_INPUT, SUMS, HALF_OUTPUT):
        sch.set_scope(sch.get_sblock(name), 0, "local")
    sums = stages[SUMS]
    n, tile_rows = stages[HALF_INPUT].spatial[:2]
    m = stages[HALF_OUTPUT].spatial[3]

    batch, height, columns, channels = sch.get_loops(sch.get_sblock(result.name))
    band, row, y = sch.split(height, [None, chosen["band"], m])
    column, x = sch.split(columns, [None, m])
    block, lane = split_overlapping(sch, channels, lanes_of(result.spatial[-1], limits.lanes), result.spatial[-1])
    sch.reorder(batch, band, row, column, block, y, x, lane)
    at = sch.fuse(batch, band)
    _transform(sch, HALF_OUTPUT, block, 4, [y, x], lane)

    sch.compute_at(sch.get_sblock(PRODUCTS), at, preserve_unit_loops=True)
    u, v, images, tiles, columns, channels = sch.get_loops(sch.get_sblock(PRODUCTS))[1:]
    lanes = min(sums.spatial[-1], limits.lanes)
    blocks, vector, lane = sch.split(channels, [None, sums.spatial[-1] // lanes, lanes])
    divide = split_cut if chosen["cut"] else split_overlapping
    line_tiles, line = divide(sch, tiles, chosen["lines"], min(chosen["band"], sums.spatial[3]))
    row_tiles, tile_row = divide(sch, columns, chosen["rows"], sums.spatial[4])
    around = [blocks, line_tiles, row_tiles] if chosen["channels_outside"] else [line_tiles, row_tiles, blocks]
    sch.reorder(u, v, images, *around, line, tile_row, vector, lane)
    sch.unroll(line)
    sch.unroll(tile_row)
    sch.unroll(vector)
    sch.vectorize(lane)
    sch.compute_at(sch.get_sblock(SUMS), around[-1], preserve_unit_loops=True)

    sch.compute_at(sch.get_sblock(INPUT), at, preserve_unit_loops=True)
    u2, v2, images, rows, columns, channels = sch.get_loops(sch.get_sblock(INPUT))[1:]
    inputs = stages[INPUT].spatial[-1]
    narrow = 4 // _bytes(sch, stages[INPUT])
    block, lane = split_overlapping(sch, channels, lanes_of(inputs, narrow * limits.lanes), inputs)
    sch.reorder(images, rows, columns, block, u2, v2, lane)
    _transform(sch, HALF_INPUT, block, 5, [u2, v2], lane)

    task = at
    if n * -(-tile_rows // chosen["band"]) < _BANDS:
        task = sch.fuse(u, v)
        share(sch, row, sums, limits)
        share(sch, rows, sums, limits)
    weights = list(sch.get(sch.get_sblock(SUMS)).reads)[-1].source
    depth, by_element = 7 if task is at else 6, takes_elements(sums, limits)
    if narrow > 1 and sums.reduction[0] % (narrow * limits.lanes) == 0:
        limits = replace(limits, lanes=narrow * limits.lanes)  # of a vector of factors
    share(sch, task, sums, limits)
    compute_tile(sch, sums, depth, lanes, limits, by_element=by_element)
    if chosen["prefetch"]:
        innermost = sch.get_loops(sch.get_sblock(f"{SUMS}_update"))[depth]
        mark_for_prefetch(sch, innermost, weights.name, chosen["prefetch"])


def _bytes(sch: Any, block: Block) -> int:
    """Bytes of an element of what a block writes."""
    return int(tvm_ffi.dtype(str(sch.get(sch.get_sblock(block.name)).writes[0].source.ty.dtype)).itemsize)


def _transform(sch: Any, half: str, at: Any, depth: int, written: list[Any], lane: Any) -> None:
    """One half of a transform in registers, inside the loop over blocks of channels of the other half."""
    sch.compute_at(sch.get_sblock(half), at, preserve_unit_loops=True)
    *inner, vector = sch.get_loops(sch.get_sblock(half))[depth:]
    for loop in [*written, *inner]:
        sch.unroll(loop)
    sch.vectorize(lane)
    sch.vectorize(vector)
