"""Which elements of a tensor a chain of views shows: transposes, reshapes, slices and broadcasts, which only rearrange.

NumPy knows when such a chain is still a window on the memory it started from, with one step an axis; an array
that is never touched, so takes no memory, asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import ir, relax

from .rewrite import operator_of, shape_of

_Probe = np.ndarray[Any, np.dtype[np.int8]]
_View = Callable[[_Probe], _Probe]


@dataclass(frozen=True)
class Window:
    """Elements of `source`, taken as one long row: number `offset` plus the steps times the indices.

    Attributes:
        shape: of what the window shows.
        factor: what each element is multiplied by.
    """

    source: Any
    offset: int
    steps: tuple[int, ...]
    shape: tuple[int, ...]
    factor: float = 1.0

    @property
    def size(self) -> int:
        """Elements of the source."""
        return int(np.prod(shape_of(self.source)))


def window_of(expr: Any, definitions: Mapping[Any, Any], shape: tuple[int, ...], scaled: bool = True) -> Window:
    """The value of `expr`, broadcast to `shape`, as a window on the earliest value that allows it.

    Args:
        definitions: expressions by the variables that they are bound to.
        scaled: look through multiplications by numbers too.
    """
    views: list[_View] = []
    factor = 1.0
    best = _look(expr, views, shape, factor)
    assert best is not None  # a tensor is a window on itself
    while True:
        call = definitions.get(expr)
        if scaled and (scaling := scaling_of(call)) is not None:
            expr, factor = scaling[0], factor * scaling[1]
        elif (viewed := _view_of(call, definitions)) is not None:
            expr = viewed[0]
            views.insert(0, viewed[1])
        else:
            return best
        found = _look(expr, views, shape, factor)
        if found is None:
            return best
        best = found


def scaling_of(call: Any) -> tuple[Any, float] | None:
    """(x, c) of `x * c` and `x / c` with a number c; None if it is neither."""
    name = operator_of(call)
    if name not in ("relax.multiply", "relax.divide"):
        return None
    left, right = call.args
    if name == "relax.multiply" and number_of(left) is not None:
        left, right = right, left
    number = number_of(right)
    if number is None or number == 0 or shape_of(left) != shape_of(call):
        return None
    return left, number if name == "relax.multiply" else 1 / number


def number_of(expr: Any) -> float | None:
    """The value of a constant of one float32; None for anything else."""
    if not isinstance(expr, ir.GenericConst) or str(expr.ty.dtype) != "float32":
        return None
    value = expr.value.numpy()
    return float(value.reshape(())) if value.size == 1 else None


def _look(source: Any, views: Sequence[_View], shape: tuple[int, ...], factor: float) -> Window | None:
    origin: _Probe = np.empty(shape_of(source), np.int8)
    probe = origin
    for view in views:
        probe = view(probe)
        if not np.may_share_memory(probe, origin):
            return None  # NumPy had to copy it
    probe = np.broadcast_to(probe, shape)
    offset = probe.__array_interface__["data"][0] - origin.__array_interface__["data"][0]
    return Window(source, offset, probe.strides, shape, factor)


def _view_of(call: Any, definitions: Mapping[Any, Any]) -> tuple[Any, _View] | None:
    """(x, how) of an expression that shows elements of x and computes nothing; None if it is no such thing."""
    if isinstance(call, relax.TupleGetItem):
        return _part(call, definitions.get(call.tuple_value))
    name = operator_of(call)
    if name == "relax.permute_dims":
        axes = None if call.attrs.axes is None else [int(a) for a in call.attrs.axes]
        return call.args[0], lambda x: x.transpose(axes)
    if name == "relax.reshape":
        return call.args[0], lambda x: x.reshape(shape_of(call))
    if name == "relax.broadcast_to":
        return call.args[0], lambda x: np.broadcast_to(x, shape_of(call))
    if name == "relax.take":
        return _element(call)
    return _slice(call) if name == "relax.strided_slice" else None


def _part(item: Any, split: Any) -> tuple[Any, _View] | None:
    """One of the parts of a split."""
    if operator_of(split) != "relax.split":
        return None
    axis = int(split.attrs.axis) % len(item.ty.shape)
    begin = sum(int(field.shape[axis]) for field in list(split.ty.fields)[: item.index])
    end = begin + shape_of(item)[axis]
    return split.args[0], lambda x: x[(slice(None),) * axis + (slice(begin, end),)]


def _element(call: Any) -> tuple[Any, _View] | None:
    """The take of one position on an axis, which goes away."""
    data, position = call.args
    if call.attrs.axis is None or not isinstance(position, ir.GenericConst) or position.value.numpy().ndim:
        return None
    axis, at = int(call.attrs.axis) % len(data.ty.shape), int(position.value.numpy())
    inside = 0 <= at < shape_of(data)[axis]  # what lies outside depends on the mode
    return (data, lambda x: x[(slice(None),) * axis + (at,)]) if inside else None


def _slice(call: Any) -> tuple[Any, _View] | None:
    data, *bounds = call.args
    axes, begins, ends, *rest = ([int(v) for v in fields] for fields in bounds)
    steps = rest[0] if rest else [1] * len(axes)
    slices = [slice(None)] * len(data.ty.shape)
    for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        slices[axis] = slice(begin, end, step)
    viewed = np.empty(shape_of(data), np.int8)[tuple(slices)]
    return (data, lambda x: x[tuple(slices)]) if viewed.shape == shape_of(call) else None
