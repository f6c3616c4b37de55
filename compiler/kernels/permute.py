"""Nests that rearrange short blocks, each within itself, as channel shuffles do: too short for tiles.

As many blocks as fill vectors are read at once, and each vector of the result is picked out of those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import ir, tirx
from tvm.script.ir_builder import tirx as T

from .accesses import access_of, write
from .lowering import nodes_of
from .nest import Axis, Nest, Values, loops, shared, unrolled
from .seams import undecided
from .style import Style
from .vectors import index, load_vector, shuffle, store_vector, substitute, vector

_SHORT = 4  # of the two sides of a block, the shorter one at most
_MOST = 8  # vectors of a block, and of several blocks at once


@dataclass(frozen=True)
class Blocks:
    """What is read, and how the nest reads it: `rows` of `columns` elements become columns."""

    load: Any
    rows: int
    columns: int
    lanes: int

    @property
    def at_once(self) -> int:
        """Blocks that fill whole vectors together."""
        return self.lanes // math.gcd(self.lanes, self.rows * self.columns)

    def source(self, number: int) -> int:
        """Where the result's element `number` is, both counted from the first block's begin."""
        block, inside = divmod(number, self.rows * self.columns)
        row, column = divmod(inside, self.columns)
        return block * self.rows * self.columns + column * self.rows + row


def permuted_blocks(nest: Nest, style: Style) -> Blocks | None:
    """The blocks of a nest whose last two axes change places in memory; None if it is no such nest."""
    loads = nodes_of(nest.store.value, ir.TensorLoad)
    if len(nest.axes) < 3 or not loads or any(not tvm_ffi.structural_equal(load, loads[0]) for load in loads):
        return None
    outer, row, column = nest.axes[-3:]
    block = row.extent * column.extent
    read, written = access_of(loads[0]), write(nest.store)
    wanted = {outer: (block, block), row: (1, column.extent), column: (row.extent, 1)}
    if any((read.step(axis.var), written.step(axis.var)) != steps for axis, steps in wanted.items()):
        return None
    lanes = style.lanes(nest)
    made = Blocks(loads[0], row.extent, column.extent, lanes)
    fits = lanes > 1 and made.at_once * block <= _MOST * lanes and made.at_once <= outer.extent
    small = min(row.extent, column.extent) <= _SHORT and not any(undecided(nest, axis.var) for axis in wanted)
    copied = str(loads[0].ty.dtype).startswith(("float", "int", "uint"))
    return made if fits and small and copied else None


def write_blocks(nest: Nest, blocks: Blocks, style: Style, values: Values) -> None:
    """Writes a nest, a few blocks at a time; the last ones may overlap those before."""
    *around, outer, row, column = nest.axes
    steps = Axis(outer.var, -(-outer.extent // blocks.at_once))
    count = style.task_axes([*around, steps], nest.work)
    with shared([*around, steps][:count]) as mine, loops([*around, steps][count:]) as own:
        found = mine | own
        begin = tirx.Min(found.pop(steps.var) * index(blocks.at_once), index(outer.extent - blocks.at_once))
        vectors = blocks.at_once * row.extent * column.extent // blocks.lanes
        # From the first block's begin, memory lies on along one axis, beyond its end too.
        first = values | found | {axis.var: axis.at(index(0)) for axis in (row, column)} | {outer.var: outer.at(begin)}
        turned = _turn(blocks, vectors, row, first)
        with unrolled(vectors) as number, vector(blocks.lanes) as lane:
            position = number * index(blocks.lanes) + lane
            here = first | {column.var: column.at(position)}

            def instead(_load: Any) -> Any:
                return tirx.BufferLoad(turned, [position])

            value = tvm_ffi.structural_map(nest.store.value, [(ir.TensorLoad, instead)])
            indices = [substitute(at, here) for at in nest.store.indices]
            T.buffer_store(nest.store.buffer, substitute(value, here), indices)


def _turn(blocks: Blocks, vectors: int, along: Axis, first: Values) -> Any:
    """Reads vectors and puts their elements into the result's order; the buffer that has them.

    Args:
        along: the axis along which memory is read.
    """
    dtype, lanes = str(blocks.load.ty.dtype), blocks.lanes
    source, turned = (T.alloc_buffer((vectors * lanes,), dtype, scope="local") for _ in range(2))
    for number in range(vectors):
        with vector(lanes) as lane:
            position = index(number * lanes) + lane
            T.buffer_store(source, substitute(blocks.load, first | {along.var: along.at(position)}), [position])
    for number in range(vectors):
        places = [blocks.source(number * lanes + lane) for lane in range(lanes)]
        which = sorted({place // lanes for place in places})
        picked = shuffle([load_vector(source, which[0] * lanes, lanes)], [place % lanes for place in places])
        for other in which[1:]:
            picks = [lanes + p % lanes if p // lanes == other else lane for lane, p in enumerate(places)]
            picked = shuffle([picked, load_vector(source, other * lanes, lanes)], picks)
        store_vector(turned, number * lanes, picked, lanes)
    return turned
