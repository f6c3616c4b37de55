"""Zero points of data, which are taken off sums of integers, taken off the float bias behind instead.

A bias that counts the sums' steps, but for rounding, counts them exactly then, and artifacts store how many they are.

(sum - offset) · scale + bias = sum · scale + (bias - offset · scale): one constant and one operation an element less.
The float32 results may differ in the last place, which moves one of some thousand 8-bit results by a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import bound_to, operator_of, rewrite_calls

Array = np.ndarray[Any, Any]

# What a bias may differ from a multiple of the scale: by what several roundings to float32 make, and by little of it.
_ROUNDING, _PART = 2.0**-21, 0.05


def fold_integer_offsets(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites float32 (sum - offset) · scale + bias, of an int32 sum and constants, the offset there or not, in
    `main`."""
    return rewrite_calls(module, _fold)


def _fold(builder: relax.BlockBuilder, call: Any) -> Any:
    product, bias = _with_constant(builder, call, "relax.add")
    converted, scale = _with_constant(builder, product, "relax.multiply")
    if bias is None or scale is None or operator_of(converted) != "relax.astype":
        return call
    if any(array.dtype != np.float32 for array in (bias, scale)):
        return call
    total, offset = converted.args[0], np.zeros((), np.int32)
    difference = bound_to(builder, total)
    if operator_of(difference) == "relax.subtract" and isinstance(difference.args[1], ir.GenericConst):
        total, offset = difference.args[0], difference.args[1].value.numpy()
    if str(total.ty.dtype) != "int32" or isinstance(total, ir.GenericConst):
        return call
    whole = _exact(bias, scale)
    folded = whole - offset.astype(np.float64) * scale
    if list(total.ty.shape) != list(call.ty.shape) or folded.ndim > len(call.ty.shape):
        return call
    if not offset.any() and np.array_equal(folded, bias):
        return call
    scaled = relax.op.multiply(builder.emit(relax.op.astype(total, "float32")), constant(scale))
    return relax.op.add(builder.emit(scaled), constant(folded.astype(np.float32)))


def _exact(bias: Array, scale: Array) -> Array:
    """A bias in float64, which is a multiple of the scale if it is near one in each channel."""
    if bias.shape != scale.shape:
        return bias.astype(np.float64)
    with np.errstate(all="ignore"):
        counts = np.rint(bias.astype(np.float64) / scale)
    near = np.abs(counts * scale - bias) <= np.minimum(_ROUNDING * np.abs(bias), _PART * np.abs(scale))
    return counts * scale.astype(np.float64) + 0.0 if near.all() else bias.astype(np.float64)  # no zero below zero


def _with_constant(builder: relax.BlockBuilder, call: Any, operator: str) -> tuple[Any, Array | None]:
    """What else an operator with a constant reads, as it is computed, and the constant; None if it is none such."""
    if operator_of(call) != operator:
        return None, None
    for one, other in (call.args, call.args[::-1]):
        if isinstance(one, ir.GenericConst) and isinstance(other, relax.Var):
            return bound_to(builder, other), one.value.numpy()
    return None, None
