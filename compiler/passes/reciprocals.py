"""Quotients by constants as products, where only a smooth function sees the difference in the last digit.

GELU is written with one, erf(x / √2); a division takes as long as ten multiplications. Elsewhere x / c stays as it
is: of x = c it has to be 1, or a floor that follows is off by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import operator_of, rewrite_calls

_SMOOTH = {f"relax.{name}" for name in ("erf", "exp", "tanh", "sigmoid", "nn.softmax")}


def multiply_by_reciprocals(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites f(x / c), of float32 and a constant c, to f(x · (1 / c)) for smooth f, in `main`."""
    return rewrite_calls(module, _multiply)


def _multiply(builder: relax.BlockBuilder, call: Any) -> Any:
    if operator_of(call) not in _SMOOTH or not isinstance(call.args[0], relax.Var):
        return call
    quotient = builder.lookup_binding(call.args[0])
    if operator_of(quotient) != "relax.divide":
        return call
    dividend, divisor = quotient.args
    if not isinstance(divisor, ir.GenericConst) or str(divisor.ty.dtype) != "float32":
        return call
    with np.errstate(all="ignore"):
        reciprocal = np.asarray(1 / divisor.value.numpy().astype(np.float64)).astype(np.float32)
    if not (np.isfinite(reciprocal) & (np.abs(reciprocal) > np.finfo(np.float32).tiny)).all():
        return call
    product = builder.emit(relax.op.multiply(dividend, constant(reciprocal)))
    return ir.Call(call.op, [product, *call.args[1:]], call.attrs, call.ty_args, ret_ty=call.ty)
