"""CumProd, which TVM does not convert, and CumSum."""

from __future__ import annotations

from typing import Any

import numpy as np


def cumulative(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, axis (constant) → the sums or products of the elements up to each; `reverse`: from it on."""
    from tvm import ir, relax

    x, axis = inputs
    if not isinstance(axis, ir.GenericConst):
        raise ValueError("its axis is not constant")
    number = int(np.asarray(axis.value.numpy()).reshape(())) % len(x.ty.shape)
    combine = relax.op.cumprod if node.op_type == "CumProd" else relax.op.cumsum
    if attrs.get("reverse", 0):
        x = bb.emit(relax.op.flip(x, number))
    dtype = str(x.ty.dtype)
    made = bb.emit(combine(x, number, dtype, exclusive=bool(attrs.get("exclusive", 0))))
    return bb.normalize(relax.op.flip(made, number)) if attrs.get("reverse", 0) else made
