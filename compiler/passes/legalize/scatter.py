"""Updates of single elements."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from ...operators.by_hand import independent, program, serial


def scatter_elements(builder: relax.BlockBuilder, call: Any) -> Any:
    """As TVM's, which takes the indices' strides for the data's where their shapes differ."""
    axis = int(call.attrs.axis) % len(call.ty.shape)
    reduction = str(call.attrs.reduction)
    combine = _COMBINE.get(reduction)
    if combine is None:
        return call

    def scatter(data: Any, indices: Any, updates: Any) -> Any:
        return _scatter(data, indices, updates, axis, combine)

    return builder.call_te(scatter, *call.args, primfunc_name_hint="scatter_elements")


_COMBINE: dict[str, Any] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "min": tirx.min,
    "max": tirx.max,
}


def _scatter(data: Any, indices: Any, updates: Any, axis: int, combine: Any) -> Any:
    shape, index_shape = ([int(size) for size in tensor.shape] for tensor in (data, indices))
    # Of the leading axes that both have in full, each position is by itself.
    apart = next((n for n in range(axis) if shape[n] != index_shape[n]), axis)
    outer = math.prod(shape[:apart])
    rest = [size for n, size in enumerate(index_shape[apart:], apart) if n != axis]

    def write(source: Any, index: Any, update: Any, out: Any) -> None:
        with independent(outer, math.prod(shape) + math.prod(index_shape)) as position:
            first = _unravel(position, shape[:apart])
            with serial(math.prod(shape[apart:])) as flat:
                at = [*first, *_unravel(flat, shape[apart:])]
                T.buffer_store(out, source[tuple(at)], at)
            # Along the axis in order: of several updates of one element, the last one stays.
            with serial(index_shape[axis]) as step, serial(math.prod(rest)) as flat:
                at = [*first, *_unravel(flat, rest)]
                at.insert(axis, step)
                to = [*at[:axis], index[tuple(at)], *at[axis + 1 :]]
                T.buffer_store(out, combine(out[tuple(to)], update[tuple(at)]), to)

    return program([data, indices, updates], [shape], [str(data.dtype)], write, "scatter_elements")


def _unravel(flat: Any, shape: list[int]) -> list[Any]:
    at = []
    for size in reversed(shape):
        at.append(flat % size)
        flat = flat // size
    return at[::-1]
