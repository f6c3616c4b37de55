"""Nests that write along one axis what lies along another one in memory, as transposes and changes of layout do.

Tiles of rows are read in vectors, transposed in registers by exchanging ever larger blocks (Eklundh, "A fast
computer method for matrix transposing", IEEE Transactions on Computers C-21(7), 1972), and written in vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import ir, tirx
from tvm.script.ir_builder import tirx as T

from .accesses import access_of, write
from .nest import Axis, Nest, Values, loops, shared, unrolled
from .seams import undecided
from .style import Style
from .vectors import index, lanes_of, load_vector, shuffle, store_vector, substitute, vector

_SMALL = 4  # LLVM makes good code of axes this short
_MOST = 16  # lanes; larger tiles gain nothing
_LINE = 64  # bytes of a cache line
_SET = 4096  # bytes after which addresses compete for the same place in a cache


@dataclass(frozen=True)
class Tile:
    """How a nest is cut into tiles.

    Attributes:
        across: number of the axis along which memory is read.
        loads: what is read along it.
        rows, lanes: extents of the tile along that axis and the last one, powers of two.
    """

    across: int
    loads: tuple[Any, ...]
    rows: int
    lanes: int


def tile_of(nest: Nest, style: Style) -> Tile | None:
    """Tiles for a nest, if all its reads are contiguous along the last axis or one other."""
    last = nest.axes[-1]
    loads: list[Any] = []

    def on_load(load: Any) -> None:
        known = any(tvm_ffi.structural_equal(load, other) for other in loads)
        if not known and access_of(load).step(last.var) not in (0, 1):
            loads.append(load)

    tvm_ffi.structural_walk(nest.store.value, [(ir.TensorLoad, on_load)])
    dtypes = {str(load.ty.dtype) for load in loads}
    steps = [[access_of(load).step(axis.var) for load in loads] for axis in nest.axes]
    across = next((n for n, own in enumerate(steps[:-1]) if own and set(own) == {1}), None)
    if across is None or None in steps[-1] or not all(d.startswith(("float", "int", "uint")) for d in dtypes):
        return None
    other = nest.axes[across]
    if min(other.extent, last.extent) <= _SMALL or undecided(nest, other.var) or undecided(nest, last.var):
        return None
    limits = style.limits
    most = min(_MOST, limits.registers // 2)  # one half holds the rows, the other what becomes of them
    narrowest = limits.lanes * 32 // max(tvm_ffi.dtype(dtype).bits for dtype in dtypes)
    rows = lanes_of(other.extent, max(1, min(most, narrowest)))
    lanes = lanes_of(last.extent, min(most, style.lanes(nest)))
    return Tile(across, tuple(loads), rows, lanes)


def write_tiles(nest: Nest, tile: Tile, style: Style, values: Values) -> None:
    """Writes a nest in tiles, a cache line of them in both directions at a time."""
    other, last = nest.axes[tile.across], nest.axes[-1]
    outer = [axis for axis in nest.axes[:-1] if axis is not other]
    read, written = access_of(tile.loads[0]), write(nest.store)
    read_bytes, write_bytes = (
        tvm_ffi.dtype(str(value.ty.dtype)).itemsize for value in (tile.loads[0], nest.store.value)
    )
    down = _Blocks(other, tile.rows, _LINE // read_bytes)
    along = _Blocks(last, tile.lanes, _LINE // write_bytes)
    # The inner loop moves along whichever side would otherwise come back to the same places in the cache.
    reading = _alignment((read.step(last.var) or 0) * read_bytes)
    writing = _alignment((written.step(other.var) or 0) * write_bytes)
    order = [along, down] if reading > writing else [down, along]
    axes = [*outer, *(blocks.axis for blocks in order)]
    count = style.task_axes(axes, nest.work)
    with shared(axes[:count]) as mine, loops(axes[count:]) as own:
        found = mine | own
        begins = {blocks: blocks.begin(found.pop(blocks.axis.var)) for blocks in order}
        with loops([down.inner, along.inner]) as at:
            row = other.at(begins[down] + at[down.inner.var] * index(tile.rows))
            column = last.at(begins[along] + at[along.inner.var] * index(tile.lanes))
            _write_tile(nest, tile, values | found, row, column)


@dataclass(frozen=True)
class _Blocks:
    """An axis in blocks of a few tiles; the last block may overlap the one before it."""

    of: Axis
    tile: int
    line: int

    @property
    def count(self) -> int:
        """Tiles of a block."""
        return max(1, min(self.line, self.of.extent) // self.tile)

    @property
    def axis(self) -> Axis:
        return Axis(self.of.var, -(-self.of.extent // (self.count * self.tile)))

    @property
    def inner(self) -> Axis:
        return Axis(self.of.var, self.count)

    def begin(self, block: Any) -> Any:
        width = self.count * self.tile
        return tirx.Min(block * index(width), index(self.of.extent - width))


def _write_tile(nest: Nest, tile: Tile, values: Values, row: Any, column: Any) -> None:
    other, last = nest.axes[tile.across], nest.axes[-1]
    turned = []
    for load in tile.loads:
        dtype = str(load.ty.dtype)
        first, second = (T.alloc_buffer((tile.rows * tile.lanes,), dtype, scope="local") for _ in range(2))
        for number in range(tile.lanes):
            with vector(tile.rows) as lane:
                here = values | {other.var: row + lane, last.var: column + index(number)}
                T.buffer_store(first, substitute(load, here), [index(number * tile.rows) + lane])
        turned.append(_transpose(first, second, tile.lanes, tile.rows))
    with unrolled(tile.rows) as number, vector(tile.lanes) as lane:
        position = number * index(tile.lanes) + lane

        def instead(load: Any) -> Any:
            found = next((n for n, own in enumerate(tile.loads) if tvm_ffi.structural_equal(load, own)), None)
            return load if found is None else tirx.BufferLoad(turned[found], [position])

        value = tvm_ffi.structural_map(nest.store.value, [(ir.TensorLoad, instead)])
        here = values | {other.var: row + number, last.var: column + lane}
        indices = [substitute(at, here) for at in nest.store.indices]
        T.buffer_store(nest.store.buffer, substitute(value, here), indices)


def _transpose(source: Any, target: Any, rows: int, lanes: int) -> Any:
    """Transposes a tile of `rows` vectors of `lanes` elements; the buffer that has the result, the other is lost."""
    square = min(rows, lanes)
    if rows > lanes:  # several short rows side by side make a long one
        for row in range(square):
            parts = [load_vector(source, part * lanes, lanes) for part in range(row, rows, square)]
            store_vector(target, row * rows, shuffle(parts, range(rows)), rows)
        source, target = target, source
    width = max(rows, lanes)
    block = 1
    while block < square:
        for row in range(square):
            if row & block:
                continue
            pair = [load_vector(source, (row + n) * width, width) for n in (0, block)]
            low = [lane if not lane & block else width + (lane ^ block) for lane in range(width)]
            for number, picks in ((row, low), (row + block, [pick + block for pick in low])):
                store_vector(target, number * width, shuffle(pair, picks), width)
        source, target = target, source
        block *= 2
    if lanes > rows:  # each vector has parts of several rows of the result
        for row in range(lanes):
            begin = row // square * square
            part = shuffle([load_vector(source, row % square * width, width)], range(begin, begin + square))
            store_vector(target, row * rows, part, rows)
        source = target
    return source


def _alignment(step: int) -> int:
    return min(step & -step, _SET)
