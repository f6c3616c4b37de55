"""BitCast, which TVM does not convert, and BitShift, whose shift by the whole width TVM leaves to the machine."""

from __future__ import annotations

from typing import Any

import numpy as np


def bit_cast(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → its bits as the type `to`."""
    from ...operators.bits import bit_cast as reinterpret
    from ..convert import dtype_name

    dtype = dtype_name(attrs["to"])
    (x,) = inputs
    return x if str(x.ty.dtype) == dtype else bb.normalize(reinterpret(x, dtype))


def bit_shift(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, amounts → x's bits moved; by less than nothing or the whole width, only the fill is left."""
    from tvm import ir, relax

    x, amounts = inputs
    dtype = str(x.ty.dtype)
    width = np.dtype(dtype).itemsize * 8
    left = attrs["direction"] == b"LEFT"
    shift = relax.op.left_shift if left else relax.op.right_shift
    if isinstance(amounts, ir.GenericConst):
        known = amounts.value.numpy()
        if ((known >= 0) & (known < width)).all():
            return bb.normalize(shift(x, amounts))
    inside = bb.normalize(relax.op.less(amounts, relax.const(width, dtype)))
    if np.dtype(dtype).kind == "i":
        positive = bb.normalize(relax.op.greater_equal(amounts, relax.const(0, dtype)))
        inside = bb.normalize(relax.op.logical_and(inside, positive))
    amounts = bb.normalize(relax.op.where(inside, amounts, relax.const(0, dtype)))
    rest = relax.const(0, dtype)
    if not left and np.dtype(dtype).kind == "i":
        rest = bb.normalize(relax.op.right_shift(x, relax.const(width - 1, dtype)))
    return bb.normalize(relax.op.where(inside, bb.normalize(shift(x, amounts)), rest))
