"""BitShift; LLVM leaves it open what a shift by the whole width makes."""

from __future__ import annotations

from typing import Any

import numpy as np


def bit_shift(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, amounts → x shifted; all bits leave it where the amount is negative or at least the width."""
    from tvm import relax

    x, amounts = inputs
    dtype = str(x.ty.dtype)
    limits = np.iinfo(dtype)
    last, zero = relax.const(limits.bits - 1, dtype), relax.const(0, dtype)
    far = relax.op.greater(amounts, last)
    if limits.min < 0:
        far = relax.op.logical_or(bb.emit(far), bb.emit(relax.op.less(amounts, zero)))
    far = bb.emit(far)
    near = bb.emit(relax.op.where(far, last, amounts))
    if attrs["direction"] == b"LEFT":
        return bb.normalize(relax.op.where(far, zero, bb.emit(relax.op.left_shift(x, near))))
    shifted = bb.emit(relax.op.right_shift(x, near))
    # A shift by all bits but the sign leaves what one by all bits ought to.
    return shifted if limits.min < 0 else bb.normalize(relax.op.where(far, zero, shifted))
