"""Computes calls on constants at compile time.

TVM's own pass compiles a kernel for each call, which takes seconds for a network's weights, and it knows no
bound: a small file could make it write gigabytes. The calls that importers and layout changes leave on weights
are one NumPy call each; what is not in the table below is computed by the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, tirx

from .constants import constant
from .rewrite import bound_to, operator_of, rewrite_calls

# Results beyond this size are left to run time, unless they are about as large as what they are made of;
# weights that are dequantised grow fourfold.
_MAX_GROWN_BYTES = 1 << 20
_MOST_GROWTH = 4

_Evaluate = Callable[[list[np.ndarray[Any, Any]], Any, tuple[int, ...], str], np.ndarray[Any, Any]]


def _dequantize(values: list[np.ndarray[Any, Any]], attrs: Any, _shape: tuple[int, ...], dtype: str) -> Any:
    data, scale, zero_point = values
    if scale.ndim == 1 and data.ndim > 1:
        along = [1] * data.ndim
        along[int(attrs.axis)] = -1
        scale, zero_point = scale.reshape(along), zero_point.reshape(along if zero_point.ndim else ())
    return ((data.astype(np.int32) - zero_point.astype(np.int32)) * scale).astype(dtype)


def _axes(attrs: Any) -> list[int] | None:
    return None if attrs.axes is None else [int(a) for a in attrs.axes]


def _take(values: list[np.ndarray[Any, Any]], attrs: Any, _shape: tuple[int, ...], _dtype: str) -> Any:
    data, indices = values
    # The third mode of TVM's says that indices are inside.
    return np.take(
        data, indices, None if attrs.axis is None else int(attrs.axis), mode="wrap" if attrs.mode == "wrap" else "clip"
    )


_EVALUATE: dict[str, _Evaluate] = {
    "relax.permute_dims": lambda x, attrs, shape, dtype: np.transpose(x[0], _axes(attrs)),
    "relax.reshape": lambda x, attrs, shape, dtype: x[0].reshape(shape),
    "relax.expand_dims": lambda x, attrs, shape, dtype: x[0].reshape(shape),
    "relax.squeeze": lambda x, attrs, shape, dtype: x[0].reshape(shape),
    "relax.flatten": lambda x, attrs, shape, dtype: x[0].reshape(shape),
    "relax.flip": lambda x, attrs, shape, dtype: np.flip(x[0], int(attrs.axis)),
    "relax.broadcast_to": lambda x, attrs, shape, dtype: np.broadcast_to(x[0], shape),
    "relax.astype": lambda x, attrs, shape, dtype: x[0].astype(dtype),
    "relax.dequantize": _dequantize,
    "relax.take": _take,
    "relax.where": lambda x, attrs, shape, dtype: np.where(x[0], x[1], x[2]),
    "relax.less": lambda x, attrs, shape, dtype: x[0] < x[1],
    "relax.add": lambda x, attrs, shape, dtype: x[0] + x[1],
    "relax.subtract": lambda x, attrs, shape, dtype: x[0] - x[1],
    "relax.multiply": lambda x, attrs, shape, dtype: x[0] * x[1],
    "relax.abs": lambda x, attrs, shape, dtype: np.abs(x[0]),
    "relax.sqrt": lambda x, attrs, shape, dtype: np.sqrt(x[0]),
    "relax.negative": lambda x, attrs, shape, dtype: -x[0],
}
# Division of integers rounds differently in NumPy; of floats it does not.
_FLOAT_ONLY: dict[str, _Evaluate] = {"relax.divide": lambda x, attrs, shape, dtype: x[0] / x[1]}


def fold_constants(module: tvm.IRModule) -> tvm.IRModule:
    """The module with calls on constants replaced by their values, in `main`."""
    return rewrite_calls(module, _fold)


def _fold(builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call)
    if name in _SIGNS and (joined := _joined(builder, call)) is not None:
        return joined
    if name == "relax.shape_to_tensor":
        return _sizes(call)
    if name not in _EVALUATE and name not in _FLOAT_ONLY:
        return call
    args = [_constant(arg) for arg in call.args if not isinstance(arg, relax.ShapeExpr)]
    values = [a for a in args if a is not None]
    ty = call.ty
    if len(values) != len(args) or not isinstance(ty, relax.TensorType) or ty.shape is None:
        return call
    dtype = str(ty.dtype)
    if dtype.startswith(("bfloat", "float8", "float4")):
        return call  # NumPy has no such type
    if name in _FLOAT_ONLY and not dtype.startswith("float"):
        return call
    shape = tuple(int(d) for d in ty.shape)
    grown = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if grown > _MAX_GROWN_BYTES and grown > _MOST_GROWTH * sum(v.nbytes for v in values):
        return call
    evaluate = _EVALUATE.get(name) or _FLOAT_ONLY[name]
    with np.errstate(all="ignore"):
        result = np.ascontiguousarray(evaluate(values, call.attrs, shape, dtype)).reshape(shape)
    return constant(result) if result.dtype == np.dtype(dtype) else call


_SIGNS = {"relax.add": 1, "relax.subtract": -1}


def _joined(builder: relax.BlockBuilder, call: Any) -> Any:
    """x + a - b with constants a and b as one sum, of 32-bit integers; None of anything else."""
    x, last = call.args
    inner: Any = bound_to(builder, x)
    if str(call.ty.dtype) != "int32" or operator_of(inner) not in _SIGNS:
        return None
    values = [_constant(arg) for arg in (inner.args[1], last)]
    if any(value is None for value in values) or call.ty.shape is None:
        return None
    first, second = (
        value * np.int32(_SIGNS[operator_of(one)]) for value, one in zip(values, (inner, call), strict=True)
    )
    total = np.asarray(first + second)
    return relax.op.add(inner.args[0], constant(total)) if total.any() else inner.args[0]


def _sizes(call: Any) -> Any:
    """A static shape, which is known whatever has it."""
    sizes = call.args[0].ty.values
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return call
    return relax.const(np.array([int(size) for size in sizes], "int64"), "int64")


def _constant(arg: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(arg, tirx.FloatImm | tirx.IntImm):
        return np.asarray(arg.value, str(arg.ty.dtype))
    if not isinstance(arg, ir.GenericConst) or "bfloat" in str(arg.ty.dtype) or "float8" in str(arg.ty.dtype):
        return None
    value: np.ndarray[Any, Any] = arg.value.numpy()
    return value
