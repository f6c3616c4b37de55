"""Quotients by constants as products, where the difference in the last digit does not matter.

A smooth function does not see it: GELU is written with one, erf(x / √2); a division takes as long as ten
multiplications. Rounding by channels' own scales may, once in some ten thousand times, take the other of two integers
that are as near; where one scale is for all, kernels divide exactly in less time (kernels/requantise.py). Elsewhere
x / c stays as it is: of x = c it has to be 1, or a floor that follows is off by one.
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
    """Rewrites f(x / c) in `main`, of float32 and a constant c, to f(x · (1 / c)) for smooth f, and for rounding where
    c has several elements."""
    return rewrite_calls(module, _multiply)


def _multiply(builder: relax.BlockBuilder, call: Any) -> Any:
    rounds = operator_of(call) == "relax.round"
    if not (rounds or operator_of(call) in _SMOOTH) or not isinstance(call.args[0], relax.Var):
        return call
    quotient = builder.lookup_binding(call.args[0])
    if operator_of(quotient) != "relax.divide":
        return call
    dividend, divisor = quotient.args
    if not isinstance(divisor, ir.GenericConst) or str(divisor.ty.dtype) != "float32":
        return call
    if rounds and divisor.value.numpy().size == 1:
        return call
    with np.errstate(all="ignore"):
        reciprocal = np.asarray(1 / divisor.value.numpy().astype(np.float64)).astype(np.float32)
    if not (np.isfinite(reciprocal) & (np.abs(reciprocal) > np.finfo(np.float32).tiny)).all():
        return call
    product = builder.emit(relax.op.multiply(dividend, constant(reciprocal)))
    return ir.Call(call.op, [product, *call.args[1:]], call.attrs, call.ty_args, ret_ty=call.ty)
