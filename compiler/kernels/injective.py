"""Element-wise work and moves of data: programs whose elements depend on no order.

All blocks become one nest for each result. It is cut at its seams, neighbouring axes that lie one after the other
in memory are taken as one, and the last one is written in vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from .accesses import Access, computes_with, is_vectorizable, reads, write
from .analysis import blocks_of
from .inline import inline_once
from .interleave import interleaved, write_interleaved
from .limits import Limits
from .nest import Axis, Nest, Values, loops, nest_of, positions, rewrite_blocks, shared, size, unrolled
from .permute import permuted_blocks, write_blocks
from .picks import has_picks, with_picks
from .rule import Offer, Parameters
from .seams import seams, settle, undecided
from .style import Style, offer_style
from .transpose import tile_of, write_tiles
from .vectors import index, lanes_of, substitute, vector

_SHORT = 256  # points that are too few to be a row of their own


def injective_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs without reductions."""
    blocks = blocks_of(sch)
    if any(b.reduction for b in blocks):
        return None
    inline_once(sch, blocks)
    params = sch.mod["main"].params

    def apply(chosen: Parameters) -> None:
        style = Style(limits, chosen["vectors"], chosen["tasks"])

        def rewrite(block: Any) -> bool:
            nest = nest_of(block)
            if nest is not None:
                accesses = [*reads(nest.store), write(nest.store)]
                flat = all(any(access.buffer.same_as(param) for param in params) for access in accesses)
                write_nest(replace(nest, flat=flat), style)
            return nest is not None

        rewrite_blocks(sch, rewrite)

    return offer_style(apply)


def write_nest(nest: Nest, style: Style, values: Values | None = None) -> None:
    """Writes the loops of a nest.

    Args:
        values: of the variables of loops around it.
    """
    values = values or {}
    if nest.work == 0:
        T.evaluate(0)
        return
    nest = settle(nest)
    if (short := interleaved(nest, style)) is not None:
        write_interleaved(nest, short, style, values)
        return
    first = next((number for number in range(len(nest.axes)) if seams(nest, number)), None)
    if first is None:
        _write_piece(merged(nest), style, values)
        return
    across = _across(nest)
    count = _task_axes(nest, style)
    if 0 < count <= across:
        with shared(nest.axes[:count]) as own:
            _write_branches(nest, 0, count, replace(style, parallel=False), values | own)
        return
    around = first if first <= across else 0
    with loops(nest.axes[:around]) as own:
        for begin, end in _bounds(nest, first):
            write_nest(nest.cut(first, begin, end).inside(around), style, values | own)


def _across(nest: Nest) -> int:
    """The outermost axis that tiles need, since something that lies along it is written along the last one."""
    *outer, last = nest.axes
    turned = [access for access in reads(nest.store.value) if access.step(last.var) not in (0, 1)]
    along = (n for n, axis in enumerate(outer) if any(access.step(axis.var) == 1 for access in turned))
    return next(along, len(outer))


def _task_axes(nest: Nest, style: Style) -> int:
    """How many leading axes threads share as one; 0 for none of them."""
    if not style.shares(nest.work):
        return 0
    count = next((n for n in range(1, len(nest.axes)) if size(nest.axes[:n]) >= style.tasks), 0)
    return count if size(nest.axes[count:]) >= _SHORT else 0


def _bounds(nest: Nest, number: int) -> list[tuple[int, int]]:
    """The pieces of an axis, from seam to seam."""
    axis = nest.axes[number]
    points = [axis.begin, *seams(nest, number), axis.end]
    return list(pairwise(points))


def _write_branches(nest: Nest, number: int, count: int, style: Style, values: Values) -> None:
    """Writes the nest inside its first `count` axes, with branches for the pieces of these axes."""
    if number == count:
        write_nest(nest.inside(count), style, values)
        return
    (begin, end), *others = _bounds(nest, number)
    first = settle(nest.cut(number, begin, end))
    if not others:
        _write_branches(first, number + 1, count, style, values)
        return
    with T.If(values[nest.axes[number].var] < end):
        with T.Then():
            _write_branches(first, number + 1, count, style, values)
        with T.Else():
            _write_branches(nest.cut(number, end, nest.axes[number].end), number, count, style, values)


def merged(nest: Nest) -> Nest:
    """The nest with neighbouring axes taken as one where every access walks through both in one step."""
    accesses = [*reads(nest.store), write(nest.store)]
    groups: list[list[Axis]] = []
    single = {axis.var: axis.at(index(0)) for axis in nest.axes if axis.extent == 1}
    for axis in nest.axes:
        if axis.var in single:
            continue
        if groups and _continues(groups[-1][-1], axis, nest, accesses):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    axes, values = [], dict(single)
    for group in groups:
        if len(group) == 1:
            axes.append(group[0])
        else:
            axes.append(Axis(tirx.Var(group[-1].var.name, "int64"), size(group)))
            if nest.flat:  # divided into positions, TVM may no longer see that the whole is a row
                values |= {axis.var: axis.at(index(0)) for axis in group[:-1]}
                values[group[-1].var] = group[-1].at(axes[-1].var)
            else:
                values |= positions(axes[-1].var, group)
    return replace(nest, axes=tuple(axes), store=substitute(nest.store, values))


def _continues(outer: Axis, inner: Axis, nest: Nest, accesses: Sequence[Access]) -> bool:
    for access in accesses:
        step = access.step(inner.var)
        if step is None or access.step(outer.var) != step * inner.extent:
            return False
    value = nest.store.value
    return not computes_with(value, outer.var) and not computes_with(value, inner.var)


def _write_piece(nest: Nest, style: Style, values: Values) -> None:
    """Writes a nest without seams."""
    if not nest.axes:
        nest.write(values)
        return
    lanes, row = style.lanes(nest), nest.axes[-1]
    steps = {access.step(row.var) for access in [*reads(nest.store), write(nest.store)]}
    regular = steps <= {0, 1} and not undecided(nest, row.var) and is_vectorizable(nest.store.value)
    if regular and row.extent >= max(2, lanes // 2):
        _write_rows(nest, lanes_of(row.extent, lanes), style, values)
    elif blocks := permuted_blocks(nest, style):
        write_blocks(nest, blocks, style, values)
    elif tile := tile_of(nest, style):
        write_tiles(nest, tile, style, values)
    elif _is_picked(nest) and row.extent >= lanes > 1:
        _write_rows(nest, lanes, style, values, picked=True)
    else:
        _write_rows(nest, 1, style, values)  # LLVM may find vectors in it


def _is_picked(nest: Nest) -> bool:
    """Whether what is read along the last axis can be picked out of vectors, and be written as one."""
    var, value = nest.axes[-1].var, nest.store.value
    return nest.flat and write(nest.store).step(var) == 1 and has_picks(value, var) and is_vectorizable(value)


def _write_rows(nest: Nest, lanes: int, style: Style, values: Values, picked: bool = False) -> None:
    """Writes the last axis in vectors, the last of which may overlap the one before it.

    Args:
        picked: elements that lie apart are picked out of vectors.
    """
    *outer, row = nest.axes
    count = min(style.vectors, row.extent // lanes) if lanes > 1 else 1
    width = count * lanes
    steps = -(-row.extent // width)
    # Threads share rows; where these are few, parts of rows.
    parts = min(steps, -(-style.tasks // size(outer))) if style.shares(nest.work) else 1
    each = -(-steps // parts)
    part, step = (Axis(tirx.Var(name, "int64"), n) for name, n in (("part", -(-steps // each)), ("step", each)))
    axes = [*outer, part, step]
    tasks = min(style.task_axes(axes, nest.work), len(axes) - 1)
    with shared(axes[:tasks]) as mine, loops(axes[tasks:]) as own:
        found = mine | own
        base, number = found.pop(part.var), found.pop(step.var)
        if part.extent > 1:
            number = tirx.Min(base * index(each), index(steps - each)) + number
        begin = tirx.Min(number * index(width), index(row.extent - width)) if width > 1 else number
        if picked:
            for which in range(count):
                _write_picked(nest, begin + which * lanes, lanes, values | found)
        else:
            with unrolled(count) as which, vector(lanes) as lane:
                nest.write(values | found | {row.var: row.at(begin + which * index(lanes) + lane)})


def _write_picked(nest: Nest, begin: Any, lanes: int, values: Values) -> None:
    """Writes one vector of the last axis."""
    row = nest.axes[-1]
    value = with_picks(nest.store.value, row, begin, lanes, values)
    with vector(lanes) as lane:
        here = values | {row.var: row.at(begin + lane)}
        T.buffer_store(nest.store.buffer, value(lane), [substitute(at, here) for at in nest.store.indices])
