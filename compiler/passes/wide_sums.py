"""Sums of 16-bit floats are taken in float32.

Eleven bits of float16 hold no sum of 4096 ones, eight of bfloat16 none of 512; NumPy and onnxruntime add up in float32
too. CPUs without arithmetic of 16 bits compute in 32 anyway.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, relax

from .rewrite import rewrite_calls

_NARROW = ("float16", "bfloat16")
_SPACES = ("1d", "2d", "3d")
_SUMS = frozenset(
    f"relax.{name}"
    for name in (
        *("cumsum", "matmul", "mean", "nn.group_norm", "nn.instance_norm", "nn.layer_norm", "nn.log_softmax"),
        *("nn.rms_norm", "nn.softmax", "std", "sum", "variance"),
        *(f"nn.{kind}{space}" for kind in ("conv", "adaptive_avg_pool", "avg_pool") for space in _SPACES),
        *(f"nn.conv{space}_transpose" for space in _SPACES),
    )
)


def widen_sums(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites f(x…) of 16-bit floats, where f adds up, to float16(f(float32(x)…)), in `main`."""
    return rewrite_calls(module, _widen)


def _widen(builder: relax.BlockBuilder, call: Any) -> Any:
    if getattr(call.op, "name", "") not in _SUMS or str(getattr(call.ty, "dtype", "")) not in _NARROW:
        return call
    args = [_wide(builder, arg) for arg in call.args]
    made = builder.normalize(ir.Call(call.op, args, call.attrs, call.ty_args))
    if str(made.ty.dtype) != "float32":  # an attribute says what it is
        return call
    return relax.op.astype(builder.emit(made), str(call.ty.dtype))


def _wide(builder: relax.BlockBuilder, arg: Any) -> Any:
    narrow = str(getattr(arg.ty, "dtype", "")) in _NARROW
    return builder.emit(relax.op.astype(arg, "float32")) if narrow else arg
