"""Zero points of data, which are taken off sums of integers, taken off the float bias behind instead.

(sum - offset) · scale + bias = sum · scale + (bias - offset · scale): one constant and one operation an element less.
The float32 results may differ in the last place, which moves one of some thousand 8-bit results by a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import operator_of, rewrite_calls


def fold_integer_offsets(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites float32 (sum - offset) · scale + bias, of an int32 sum and constants, in `main`."""
    return rewrite_calls(module, _fold)


def _fold(builder: relax.BlockBuilder, call: Any) -> Any:
    product, bias = _with_constant(builder, call, "relax.add")
    converted, scale = _with_constant(builder, product, "relax.multiply")
    if bias is None or scale is None or operator_of(converted) != "relax.astype":
        return call
    if any(array.dtype != np.float32 for array in (bias, scale)):
        return call
    difference = _definition(builder, converted.args[0])
    if operator_of(difference) != "relax.subtract" or str(difference.ty.dtype) != "int32":
        return call
    total, offset = difference.args
    if not isinstance(offset, ir.GenericConst) or isinstance(total, ir.GenericConst):
        return call
    folded = bias - offset.value.numpy().astype(np.float64) * scale
    if list(total.ty.shape) != list(call.ty.shape) or folded.ndim > len(call.ty.shape):
        return call
    scaled = relax.op.multiply(builder.emit(relax.op.astype(total, "float32")), constant(scale))
    return relax.op.add(builder.emit(scaled), constant(folded.astype(np.float32)))


def _definition(builder: relax.BlockBuilder, value: Any) -> Any:
    return builder.lookup_binding(value) if isinstance(value, relax.Var) else None


def _with_constant(builder: relax.BlockBuilder, call: Any, operator: str) -> tuple[Any, np.ndarray[Any, Any] | None]:
    """What else an operator with a constant reads, as it is computed, and the constant; None if it is none such."""
    if operator_of(call) != operator:
        return None, None
    for one, other in (call.args, call.args[::-1]):
        if isinstance(one, ir.GenericConst) and isinstance(other, relax.Var):
            return _definition(builder, other), one.value.numpy()
    return None, None
