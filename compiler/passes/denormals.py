"""Weights too small for float32's full precision, which training drives channels to that nothing needs, become 0.

Arithmetic on such numbers takes up to a hundred cycles an instruction; what they add is below 1.2e-38 of their factor.
Where a constant is of nothing else, as an epsilon that keeps a divisor from 0, it stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import operator_of, rewrite_calls

_SMALLEST = np.finfo(np.float32).tiny
_LINEAR = {f"relax.{name}" for name in ("add", "subtract", "multiply", "matmul", "nn.prelu")}


def drop_denormals(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites float32 constants of sums, products, convolutions and PReLUs in `main`."""
    return rewrite_calls(module, _without)


def _without(_builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call)
    if name not in _LINEAR and not name.startswith("relax.nn.conv"):
        return call
    args = [_normal(arg) for arg in call.args]
    if all(new is old for new, old in zip(args, call.args, strict=True)):
        return call
    return ir.Call(call.op, args, call.attrs, call.ty_args, ret_ty=call.ty)


def _normal(arg: Any) -> Any:
    if not isinstance(arg, ir.GenericConst) or str(arg.ty.dtype) != "float32":
        return arg
    array = arg.value.numpy()
    denormal = (np.abs(array) < _SMALLEST) & (array != 0)
    if not denormal.any() or not (np.abs(array) >= _SMALLEST).any():
        return arg
    return constant(np.where(denormal, np.float32(0), array))
