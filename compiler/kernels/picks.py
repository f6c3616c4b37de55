"""Reads of elements that lie a few apart: every second column of an image, or one of its few channels.

They are picked out of whole vectors, as instructions that gather elements take as long as loads of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import ir, tirx
from tvm.script.ir_builder import tirx as T

from .accesses import access_of, is_conditional
from .nest import Axis, Values
from .vectors import index, load_vector, shuffle, substitute, vector

_FARTHEST = 4  # elements from one that is read to the next


def has_picks(value: Any, var: Any) -> bool:
    """Whether every read along an axis of a flat nest is of numbers, few elements apart, and without conditions."""
    fine = True

    def on_load(load: Any) -> None:
        nonlocal fine
        number = str(load.ty.dtype).startswith(("float", "int", "uint"))
        strides = list(load.source.ty.strides)
        dense = not strides or bool(strides[-1] == 1)
        fine = fine and number and dense and access_of(load).step(var) in range(_FARTHEST + 1)

    def on_call(call: Any) -> None:
        nonlocal fine
        fine = fine and not is_conditional(call)  # beyond whose condition there may be no memory

    tvm_ffi.structural_walk(value, [(ir.TensorLoad, on_load), (ir.Call, on_call)])
    return fine


def with_picks(value: Any, along: Axis, begin: Any, lanes: int, values: Values) -> Callable[[Any], Any]:
    """Writes the reads that `has_picks` found at a vector along an axis; the value, a function of the lane.

    Args:
        begin: where along the axis the vector begins.
        values: of variables.
    """
    first = values | {along.var: along.at(begin)}
    picked: list[tuple[Any, Any]] = []

    def on_load(load: Any) -> None:
        step = access_of(load).step(along.var)
        if step is not None and step > 1 and not any(tvm_ffi.structural_equal(load, other) for other, _ in picked):
            picked.append((load, _pick(substitute(load, first), step, lanes)))

    tvm_ffi.structural_walk(value, [(ir.TensorLoad, on_load)])

    def at(lane: Any) -> Any:
        def instead(load: Any) -> Any:
            return next((own[lane] for other, own in picked if tvm_ffi.structural_equal(load, other)), load)

        here = values | {along.var: along.at(begin + lane)}
        return substitute(tvm_ffi.structural_map(value, [(ir.TensorLoad, instead)]), here)

    return at


def _pick(load: Any, step: int, lanes: int) -> Any:
    """A buffer with every `step`th element from that of a load on, read in vectors, none beyond the last of them."""
    dtype, (*before, at) = str(load.ty.dtype), load.indices
    found, picked = (T.alloc_buffer((size,), dtype, scope="local") for size in (step * lanes, lanes))
    begins = [*range(0, (step - 1) * lanes, lanes), (step - 1) * (lanes - 1)]
    for number, begin in enumerate(begins):
        with vector(lanes) as lane:
            there = tirx.BufferLoad(load.source, [*before, at + index(begin) + lane])
            T.buffer_store(found, there, [index(number * lanes) + lane])
    places = []
    for element in range(0, step * lanes, step):
        number = next(n for n, begin in enumerate(begins) if begin <= element < begin + lanes)
        places.append(number * lanes + element - begins[number])
    parts = [load_vector(found, number * lanes, lanes) for number in range(step)]
    T.buffer_store(picked, shuffle(parts, places), [tirx.Ramp(index(0), index(1), lanes)])
    return picked
