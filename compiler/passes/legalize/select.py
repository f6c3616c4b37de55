"""The first few elements of long rows without sorting.

A first pass takes the smallest element of each of 64 interleaved parts of a row; the largest of the first few of
those bounds what is looked for. A second pass passes over whole blocks whose smallest element is beyond the bound; few
elements enter the sorted list of the best so far, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ...operators.by_hand import independent, program, serial, whole
from .radix import Order, key_of

LARGEST = 16  # elements of a list
_LANES = 16  # elements of a vector; LLVM takes it apart where the machine's are shorter
_VECTORS = 4  # of a block
_BLOCK = _LANES * _VECTORS  # also the number of parts, which LARGEST must not exceed; rows are no shorter


def selected_positions(data: Any, order: Order) -> Any:
    """As `sorted_positions`, of rows that are side by side (`inner` 1), for at most LARGEST elements of each."""

    def write(source: Any, result: Any) -> None:
        with independent(order.outer, order.outer * order.size) as row:
            _select(lambda i: key_of(source[row, i, whole(0)], order), order, lambda i, v: store(result, row, i, v))

    def store(result: Any, row: Any, i: Any, value: Any) -> None:
        T.buffer_store(result, value, [row, i, whole(0)])

    return program([data], [[order.outer, order.count, 1]], ["int32"], write, "select")


def _select(key: Callable[[Any], Any], order: Order, store: Callable[[Any, Any], None]) -> None:
    """Stores the positions of the row's elements of the lowest keys."""
    count, blocks = order.count, order.size // _BLOCK
    keys, least = (T.alloc_buffer((n,), order.keys, scope="local") for n in (count, _BLOCK))
    places = T.alloc_buffer((count,), "int32", scope="local")
    own, limit = (T.alloc_buffer((1,), order.keys, scope="local") for _ in range(2))
    filled = T.alloc_buffer((1,), "int64", scope="local")
    none, one, last = tirx.const(0, order.keys), tirx.const(1, order.keys), whole(count - 1)

    def enter(value: Any, place: Any) -> None:
        """Puts an element into the sorted list, behind its equals; the list's last one leaves a full list."""
        T.buffer_store(own, value, [0])
        with T.If(tirx.any(filled[0] < whole(count), own[0] < keys[last])), T.Then():
            T.buffer_store(filled, tirx.min(filled[0] + whole(1), whole(count)), [0])
            end = filled[0] - whole(1)
            T.buffer_store(keys, own[0], [end])
            T.buffer_store(places, place.astype("int32"), [end])
            with serial(end) as step:
                here = end - step
                with T.If(keys[here - whole(1)] > own[0]), T.Then():
                    T.buffer_store(keys, keys[here - whole(1)], [here])
                    T.buffer_store(places, places[here - whole(1)], [here])
                    T.buffer_store(keys, own[0], [here - whole(1)])
                    T.buffer_store(places, place.astype("int32"), [here - whole(1)])

    def look(i: Any) -> None:
        """Enters an element that may belong to the first ones."""
        value = key(i)
        with T.If(value <= limit[0]), T.Then():
            enter(value, i)
            with T.If(filled[0] == whole(count)), T.Then():
                beyond = keys[last]  # only what is below it enters
                T.buffer_store(limit, tirx.Select(beyond == none, none, beyond - one), [0])

    def lower(parts: int, begin: Any, vectors: int) -> None:
        """`least[:parts]`: the smallest keys of these vectors, element by element."""
        for vector in range(vectors):
            at = vector * _LANES % parts
            with T.vectorized(_LANES) as lane:
                value = key(begin + whole(vector * _LANES) + lane.astype("int64"))
                known = tirx.min(least[at + lane], value) if vector * _LANES >= parts else value
                T.buffer_store(least, known, [at + lane])

    def lowest(begin: Any, vectors: int) -> Any:
        lower(_LANES, begin, vectors)
        half = _LANES // 2
        while half > 1:
            with T.vectorized(half) as lane:
                T.buffer_store(least, tirx.min(least[lane], least[half + lane]), [lane])
            half //= 2
        return tirx.min(least[0], least[1])

    lower(_BLOCK, whole(0), _VECTORS)
    with serial(blocks - 1) as block:
        for vector in range(_VECTORS):
            with T.vectorized(_LANES) as lane:
                at = vector * _LANES + lane
                value = key((block + whole(1)) * whole(_BLOCK) + at.astype("int64"))
                T.buffer_store(least, tirx.min(least[at], value), [at])
    T.buffer_store(filled, whole(0), [0])
    with serial(_BLOCK) as part:
        enter(least[part], part)
    T.buffer_store(limit, keys[last], [0])
    T.buffer_store(filled, whole(0), [0])
    with serial(blocks) as block:
        begin = block * whole(_BLOCK)
        with T.If(lowest(begin, _VECTORS) <= limit[0]), T.Then(), serial(_VECTORS) as vector:
            first = begin + vector * whole(_LANES)
            with T.If(lowest(first, 1) <= limit[0]), T.Then(), serial(_LANES) as lane:
                look(first + lane)
    with serial(order.size - blocks * _BLOCK) as rest:
        look(whole(blocks * _BLOCK) + rest)
    with serial(count) as i:
        store(i, places[i])
