"""Nests whose last axis is too short for a vector, and that are read along the axis before it, as an image is whose
few channels become the last axis.

Vectors run along that axis, one for each place of the last one, and are interleaved as they are written. Places of the
last axis may differ in what they hold: those of padding are constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from .accesses import is_vectorizable, reads, write
from .nest import Axis, Nest, Values, loops, shared, unrolled
from .picks import has_picks, with_picks
from .seams import seams, settle, undecided
from .style import Style
from .vectors import index, lanes_of, load_vector, shuffle, store_vector, substitute, vector

_MOST = 4  # places of the last axis, which tiles would be too short for
_MOST_APART = 16  # where elements lie apart, which nothing else reads in vectors


@dataclass(frozen=True)
class Interleaved:
    """The nests of each place of the last axis, which have this axis no more, and elements of their vectors."""

    places: tuple[Nest, ...]
    lanes: int


def interleaved(nest: Nest, style: Style) -> Interleaved | None:
    """How to write a nest so; None if it is no such nest."""
    if not nest.flat or len(nest.axes) < 2 or not 1 < nest.axes[-1].extent <= _MOST_APART:
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
    apart = not steps <= {0, 1}
    if apart and not all(has_picks(value, along.var) for value in values):
        return None
    if (last.extent > _MOST and not apart) or not all(map(is_vectorizable, values)):
        return None
    if steps <= {0} or any(undecided(place, along.var) for place in places):
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
        joined = _joined([[part] for part in parts], made.lanes)
        with unrolled(last.extent) as number, vector(made.lanes) as lane:
            position = number * index(made.lanes) + lane
            # Behind the last place there is the first one of the next.
            here = first | {last.var: last.at(position)}
            indices = [substitute(at, here) for at in nest.store.indices]
            T.buffer_store(nest.store.buffer, joined[position], indices)


def _joined(streams: Sequence[Sequence[Any]], lanes: int) -> Any:
    """A buffer of the first elements of all streams, which are vectors, then of the second ones, and so on."""
    if len(streams) > _MOST and len(streams) % 2 == 0:  # pairs are what instructions interleave
        buffers = [_joined(streams[first::2], lanes) for first in (0, 1)]
        size = len(streams) // 2 * len(streams[0])
        streams = [[load_vector(buffer, n * lanes, lanes) for n in range(size)] for buffer in buffers]
    count = sum(map(len, streams))
    joined = T.alloc_buffer((count * lanes,), str(streams[0][0].ty.dtype).partition("x")[0], scope="local")
    for number in range(count):
        at = [divmod(number * lanes + lane, len(streams)) for lane in range(lanes)]
        read = sorted({(element // lanes, stream) for element, stream in at})
        picks = [read.index((element // lanes, stream)) * lanes + element % lanes for element, stream in at]
        store_vector(joined, number * lanes, shuffle([streams[stream][n] for n, stream in read], picks), lanes)
    return joined


def _part(place: Nest, along: Axis, begin: Any, lanes: int, values: Values) -> Any:
    """The vector of one place, which goes through memory, as TVM makes vectors of stores."""
    buffer = T.alloc_buffer((lanes,), str(place.store.value.ty.dtype), scope="local")
    value = with_picks(place.store.value, along, begin, lanes, values)
    with vector(lanes) as lane:
        T.buffer_store(buffer, value(lane), [lane])
    return load_vector(buffer, 0, lanes)
