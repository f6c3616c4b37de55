"""Operators that 16-bit floats are too narrow for are computed in float32.

Eleven bits of float16 hold no sum of 4096 ones, eight of bfloat16 none of 512; NumPy and onnxruntime add up in float32
too. Other operators have no instruction or function of 16 bits. CPUs without arithmetic of 16 bits compute in 32
anyway. `frontend/wide.py` widens formulas.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, relax

from .rewrite import rewrite_calls

_NARROW = ("float16", "bfloat16")
_SPACES = ("1d", "2d", "3d")
_SUMS = (
    *("cumsum", "matmul", "mean", "nn.group_norm", "nn.instance_norm", "nn.layer_norm", "nn.log_softmax"),
    *("nn.rms_norm", "nn.softmax", "std", "sum", "variance"),
    *(f"nn.{kind}{space}" for kind in ("conv", "adaptive_avg_pool", "avg_pool") for space in _SPACES),
    *(f"nn.conv{space}_transpose" for space in _SPACES),
)
_WITHOUT_CODE = (
    *("acos", "acosh", "argmax", "argmin", "asin", "asinh", "atan", "atanh", "isfinite", "isinf", "isnan"),
    *("floor_mod", "mod", "power"),
)
_WIDENED = frozenset(f"relax.{name}" for name in (*_SUMS, *_WITHOUT_CODE))


def widen_floats(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites f(x…) of 16-bit floats to float16(f(float32(x)…)), for some f, in `main`."""
    return rewrite_calls(module, _widen)


def _widen(builder: relax.BlockBuilder, call: Any) -> Any:
    name = getattr(call.op, "name", "")
    if name == "relax.astype" and str(call.args[0].ty.dtype) == "bfloat16" and "int" in str(call.ty.dtype):
        return relax.op.astype(builder.emit(relax.op.astype(call.args[0], "float32")), str(call.ty.dtype))
    if name not in _WIDENED or not any(map(_is_narrow, call.args)):
        return call
    args = [_wide(builder, arg) for arg in call.args]
    made = builder.normalize(ir.Call(call.op, args, call.attrs, call.ty_args))
    if made.ty.dtype == call.ty.dtype:  # a bool, a place; or an attribute says what it is
        return made if not _is_narrow(call) else call
    return relax.op.astype(builder.emit(made), str(call.ty.dtype))


def _is_narrow(value: Any) -> bool:
    return str(getattr(value.ty, "dtype", "")) in _NARROW


def _wide(builder: relax.BlockBuilder, arg: Any) -> Any:
    return builder.emit(relax.op.astype(arg, "float32")) if _is_narrow(arg) else arg
