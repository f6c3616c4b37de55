"""Element-wise tensor programs in NumPy, as kernels compute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import ir, s_tir, tirx

from ..kernels.vector_math import expand_call

Array = np.ndarray[Any, Any]


class NotComputed(Exception):
    """A program is not element-wise, or computes what is not in the tables below, or what machines differ in."""


def evaluate(func: Any, arguments: Sequence[Array]) -> Array:
    """The values of an element-wise program's result.

    Args:
        func: a PrimFunc of static shapes whose blocks compute one element of each position; its last parameter is
            the result.
        arguments: of the parameters before it, values of one axis, or scalars, in place of their elements.

    Raises:
        NotComputed: the program is none such.
    """
    *inputs, result = func.params
    values = dict(zip(inputs, arguments, strict=True))
    shape = list(result.ty.shape)
    for block in _blocks(func.body.block.body):
        store = block.body
        axes = [axis.var for axis in block.iter_vars]
        if block.init is not None or not isinstance(store, tirx.BufferStore):
            raise NotComputed
        if any(axis.iter_type != tirx.IterVar.DataPar for axis in block.iter_vars):
            raise NotComputed
        _check_position(store.buffer, store.indices, axes, shape)
        with np.errstate(all="ignore"):
            values[store.buffer] = _Evaluator(values, axes, shape)(store.value)
    if result not in values:
        raise NotComputed
    return np.asarray(values[result])


def _blocks(node: Any) -> list[Any]:
    """The blocks of a program that is nothing but loops around them."""
    if isinstance(node, tirx.SeqStmt):
        return [block for part in node for block in _blocks(part)]
    if isinstance(node, tirx.For):
        return _blocks(node.body)
    if isinstance(node, s_tir.SBlockRealize) and isinstance(node.predicate, tirx.IntImm):
        return [node.block]
    raise NotComputed


def _check_position(buffer: Any, indices: Sequence[Any], axes: Sequence[Any], shape: Sequence[Any]) -> None:
    """Raises NotComputed unless this is the element of a buffer at the position that `axes` are of the result."""
    extents = list(buffer.ty.shape)
    if not extents or all(_is_number(extent, 1) for extent in extents):
        return
    if [str(e) for e in extents] != [str(e) for e in shape] or len(indices) != len(axes):
        raise NotComputed
    for index, axis, extent in zip(indices, axes, extents, strict=True):
        if not (index.same_as(axis) or (_is_number(index, 0) and _is_number(extent, 1))):
            raise NotComputed


def _is_number(expr: Any, number: int) -> bool:
    return isinstance(expr, tirx.IntImm) and int(expr.value) == number


class _Evaluator:
    """Values of expressions at one position: scalars and arrays of the expressions' types."""

    def __init__(self, buffers: dict[Any, Array], axes: Sequence[Any], shape: Sequence[Any]) -> None:
        self.buffers, self.axes, self.shape = buffers, axes, shape
        self.bound: dict[Any, Array] = {}

    def __call__(self, expr: Any) -> Array:
        if isinstance(expr, tirx.FloatImm | tirx.IntImm):
            return np.asarray(expr.value, _dtype(expr))
        if isinstance(expr, ir.TensorLoad):
            _check_position(expr.source, expr.indices, self.axes, self.shape)
            if expr.source not in self.buffers:
                raise NotComputed
            return self.buffers[expr.source]
        if isinstance(expr, tirx.Let):
            self.bound[expr.var] = self(expr.value)
            return self(expr.body)
        if isinstance(expr, ir.Var) and expr in self.bound:
            return self.bound[expr]
        if isinstance(expr, tirx.Cast):
            return _cast(self(expr.value), _dtype(expr))
        if isinstance(expr, tirx.Select):
            return np.where(*map(self, (expr.condition, expr.true_value, expr.false_value)))
        if isinstance(expr, ir.Call):
            return self._call(expr)
        operation = _TWO.get(type(expr))
        if operation is None:
            raise NotComputed(str(type(expr)))
        a, b = self(expr.a), self(expr.b)
        if isinstance(expr, tirx.Max | tirx.Min) and (np.isnan(a).any() or np.isnan(b).any()):
            raise NotComputed  # machines differ in which of the two it is
        return _of_type(operation(a, b), _dtype(expr))

    def _call(self, call: Any) -> Array:
        expanded = expand_call(call)
        if not expanded.same_as(call):
            return self(expanded)
        name, dtype = str(getattr(call.op, "name", "")).removeprefix("tirx."), _dtype(call)
        operation = _CALLS.get(name)
        if operation is None:
            raise NotComputed(name)
        args = [self(arg) for arg in call.args]
        if name == "reinterpret":
            return np.asarray(np.ascontiguousarray(args[0]).view(dtype).reshape(args[0].shape))
        return _of_type(operation(*args), dtype)


def _dtype(expr: Any) -> str:
    dtype = str(expr.ty.dtype)
    if dtype not in _TYPES:
        raise NotComputed(dtype)
    return dtype


def _of_type(value: Any, dtype: str) -> Array:
    """A result that NumPy has computed in the operation's own type."""
    array = np.asarray(value)
    if array.dtype != np.dtype(dtype):
        raise NotComputed
    return array


def _cast(value: Array, dtype: str) -> Array:
    if value.dtype.kind == "f" and np.dtype(dtype).kind in "iu":
        info, whole = np.iinfo(dtype), np.trunc(value.astype(np.float64))
        if not (np.isfinite(value).all() and (whole >= info.min).all() and (whole <= info.max).all()):
            raise NotComputed  # machines differ in what that is
    return value.astype(dtype)


_TYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
_TWO: dict[type, Callable[[Any, Any], Any]] = {
    tirx.Add: np.add,
    tirx.Sub: np.subtract,
    tirx.Mul: np.multiply,
    tirx.Div: lambda a, b: np.divide(a, b) if a.dtype.kind == "f" else _refuse(),
    tirx.Max: np.maximum,
    tirx.Min: np.minimum,
    tirx.LT: np.less,
    tirx.LE: np.less_equal,
    tirx.GT: np.greater,
    tirx.GE: np.greater_equal,
    tirx.EQ: np.equal,
    tirx.NE: np.not_equal,
    tirx.And: np.logical_and,
    tirx.Or: np.logical_or,
    tirx.LShift: np.left_shift,
    tirx.RShift: np.right_shift,
    tirx.BitwiseAnd: np.bitwise_and,
    tirx.BitwiseOr: np.bitwise_or,
}
_CALLS: dict[str, Callable[..., Any]] = {
    "reinterpret": lambda value: value,
    "if_then_else": np.where,
    "nearbyint": np.rint,
    "sqrt": np.sqrt,
    "fabs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
}


def _refuse() -> Any:
    raise NotComputed
