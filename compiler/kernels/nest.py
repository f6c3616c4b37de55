"""Data-parallel loop nests as data: axes and one store, from which rules write loops of their own.

TVM's schedule primitives keep a nest as one block with one set of loops. Rules that cut a nest into pieces, or
read it in tiles, write the loops themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tvm import ir, s_tir, sym, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from .lowering import nodes_of
from .vectors import index, install, loop, substitute

Values = dict[Any, Any]  # of variables


@dataclass(frozen=True)
class Axis:
    """`var` runs over `extent` values from `begin`, in any order."""

    var: Any
    extent: int
    begin: int = 0

    @property
    def end(self) -> int:
        return self.begin + self.extent

    def at(self, number: Any) -> Any:
        """The value at a position of the axis, an index."""
        value = number + index(self.begin) if self.begin else number
        dtype = str(self.var.ty.dtype)
        return value if dtype == str(value.ty.dtype) else tirx.Cast(dtype, value)


@dataclass(frozen=True)
class Nest:
    """`store` for every point of `axes`, the outermost first; no point reads what another one writes.

    Attributes:
        around: axes whose loops are written already, around this nest.
        flat: whether indices may run over the end of an axis, into what lies behind it in memory. Not of buffers of
            the program's own, of which TVM keeps the part that indices reach.
    """

    axes: tuple[Axis, ...]
    store: Any
    around: tuple[Axis, ...] = ()
    flat: bool = False

    @property
    def work(self) -> int:
        """Points in all."""
        return size(self.axes)

    def cut(self, number: int, begin: int, end: int) -> Nest:
        """The part of the nest with one axis from `begin` to `end`."""
        axes = list(self.axes)
        axes[number] = replace(axes[number], begin=begin, extent=end - begin)
        return replace(self, axes=tuple(axes))

    def inside(self, count: int) -> Nest:
        """The nest inside the loops of its first axes."""
        return replace(self, axes=self.axes[count:], around=self.around + self.axes[:count])

    def write(self, values: Mapping[Any, Any]) -> None:
        """Writes the store at one point."""
        T.buffer_store(
            self.store.buffer,
            substitute(self.store.value, values),
            [substitute(position, values) for position in self.store.indices],
        )


def nest_of(block: Any) -> Nest | None:
    """The nest of a block whose axes are all data-parallel and static; None for any other block."""
    if block.init is not None or not isinstance(block.body, tirx.BufferStore):
        return None
    axes = []
    for axis in block.iter_vars:
        extent = axis.dom.extent
        if axis.iter_type != tirx.IterVar.DataPar or not isinstance(extent, tirx.IntImm):
            return None
        axes.append(Axis(axis.var, int(extent.value)))
    return Nest(tuple(axes), block.body)


def size(axes: Sequence[Axis]) -> int:
    return math.prod(axis.extent for axis in axes)


def positions(value: Any, axes: Sequence[Axis]) -> Values:
    """The variables' values at a position of the axes taken as one."""
    values: Values = {}
    inner = 1
    for number, axis in reversed(list(enumerate(axes))):
        step = value if inner == 1 else tirx.floordiv(value, index(inner))
        values[axis.var] = axis.at(step if number == 0 else tirx.floormod(step, index(axis.extent)))
        inner *= axis.extent
    return values


@contextmanager
def loops(axes: Sequence[Axis]) -> Iterator[Values]:
    """Serial loops over `axes`, the first outermost, as values of their variables."""
    if not axes:
        yield {}
        return
    with loop(axes[0].extent) as number, loops(axes[1:]) as values:
        yield {axes[0].var: axes[0].at(number), **values}


@contextmanager
def shared(axes: Sequence[Axis]) -> Iterator[Values]:
    """One loop over all of `axes` that threads share, as values of their variables."""
    with loop(size(axes), parallel=True) as number:
        yield positions(number, axes)


@contextmanager
def unrolled(extent: int) -> Iterator[Any]:
    """A loop that is written out, as its variable."""
    if extent == 1:
        yield index(0)
    else:
        with T.unroll(index(0), index(extent)) as var:
            yield var


def analyzer_of(axes: Sequence[Axis]) -> Any:
    """An analyzer that knows the axes' ranges."""
    analyzer = sym.Analyzer()
    for axis in axes:
        dtype = str(axis.var.ty.dtype)
        low, extent = tirx.IntImm(dtype, axis.begin), tirx.IntImm(dtype, axis.extent)
        analyzer.bind(axis.var, ir.Range.from_min_extent(low, extent))
    return analyzer


def rewrite_blocks(sch: Any, write: Callable[[Any], bool]) -> None:
    """Puts loops of one's own in the place of a program's blocks; ends the use of schedule primitives on it.

    Args:
        write: gets a block; writes its loops, or returns False to leave it as it is.
    """
    root = sch.get(sch.get_sblock("root"))
    parts = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    written = [_rewritten(part, write) for part in parts]
    body = tirx.SeqStmt(written) if len(written) > 1 else written[0]
    fields = (root.iter_vars, root.reads, root.writes, root.name_hint, body, root.init, root.alloc_buffers)
    block = s_tir.SBlock(*fields, root.match_buffers, root.annotations)
    install(sch, sch.mod["main"].with_body(s_tir.SBlockRealize([], tirx.IntImm("bool", 1), block)))


def _rewritten(part: Any, write: Callable[[Any], bool]) -> Any:
    found = nodes_of(part, s_tir.SBlockRealize)
    if len(found) != 1 or not isinstance(found[0].predicate, tirx.IntImm):
        return part
    with IRBuilder() as builder:
        with T.seq_scope():
            done = write(found[0].block)
        return builder.get().body if done else part  # without the attribute that marks the scope
