"""Nests whose last axis is too short for a vector, and that are read along the axis before it, as an image is whose
few channels become the last axis.

Vectors run along that axis, one for each place of the last one, and are interleaved as they are written. Places of the
last axis may differ in what they hold: those of padding are constant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from .accesses import is_vectorizable, reads, write
from .nest import Axis, Nest, Values, loops, shared, unrolled
from .seams import seams, settle, undecided
from .style import Style
from .vectors import index, lanes_of, load_vector, shuffle, substitute, vector

_MOST = 4  # places of the last axis


@dataclass(frozen=True)
class Interleaved:
    """The nests of each place of the last axis, which have this axis no more, and elements of their vectors."""

    places: tuple[Nest, ...]
    lanes: int


def interleaved(nest: Nest, style: Style) -> Interleaved | None:
    """How to write a nest so; None if it is no such nest."""
    if not nest.flat or len(nest.axes) < 2 or not 1 < nest.axes[-1].extent <= _MOST:
        return None
    if str(nest.store.value.ty.dtype) == "bool":  # whose local vectors TVM makes bytes of, but not what is stored
        return None
    *_, along, last = nest.axes
    written = write(nest.store)
    if (written.step(last.var), written.step(along.var)) != (1, last.extent) or seams(nest, len(nest.axes) - 2):
        return None
    places = []
    for number in range(last.extent):
        part = settle(nest.cut(len(nest.axes) - 1, last.begin + number, last.begin + number + 1))
        at = {last.var: last.at(index(number))}
        places.append(replace(part, axes=nest.axes[:-1], store=substitute(part.store, at)))
    values = [place.store.value for place in places]
    steps = {access.step(along.var) for value in values for access in reads(value)}
    if not steps <= {0, 1} or not all(map(is_vectorizable, values)):
        return None
    if 1 not in steps or any(undecided(place, along.var) for place in places):
        return None
    lanes = lanes_of(along.extent, min(map(style.lanes, places)))
    return Interleaved(tuple(places), lanes) if lanes > 1 else None


def write_interleaved(nest: Nest, made: Interleaved, style: Style, values: Values) -> None:
    """Writes a nest in vectors along its last axis but one, the last of which may overlap the one before it."""
    *outer, along, last = nest.axes
    step = Axis(tirx.Var("step", "int64"), -(-along.extent // made.lanes))
    axes = [*outer, step]
    tasks = min(style.task_axes(axes, nest.work), len(axes) - 1)
    with shared(axes[:tasks]) as mine, loops(axes[tasks:]) as own:
        found = values | mine | own
        begin = tirx.Min(found.pop(step.var) * index(made.lanes), index(along.extent - made.lanes))
        parts = [_part(place, along, begin, made.lanes, found) for place in made.places]
        first = found | {along.var: along.at(begin)}
        # The interleaved vectors are as long as those of one place, of which there are as many.
        joined = T.alloc_buffer((made.lanes * last.extent,), str(nest.store.value.ty.dtype), scope="local")
        for number in range(last.extent):
            picks = [divmod(number * made.lanes + lane, last.extent) for lane in range(made.lanes)]
            picked = shuffle(parts, [place * made.lanes + element for element, place in picks])
            T.buffer_store(joined, picked, [tirx.Ramp(index(number * made.lanes), index(1), made.lanes)])
        with unrolled(last.extent) as number, vector(made.lanes) as lane:
            position = number * index(made.lanes) + lane
            # Behind the last place there is the first one of the next.
            here = first | {last.var: last.at(position)}
            indices = [substitute(at, here) for at in nest.store.indices]
            T.buffer_store(nest.store.buffer, joined[position], indices)


def _part(place: Nest, along: Axis, begin: Any, lanes: int, values: Values) -> Any:
    """The vector of one place, which goes through memory, as TVM makes vectors of stores."""
    buffer = T.alloc_buffer((lanes,), str(place.store.value.ty.dtype), scope="local")
    with vector(lanes) as lane:
        T.buffer_store(buffer, substitute(place.store.value, values | {along.var: along.at(begin + lane)}), [lane])
    return load_vector(buffer, 0, lanes)
