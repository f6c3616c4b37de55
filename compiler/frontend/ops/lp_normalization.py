"""LpNormalization, which TVM does not convert."""

from __future__ import annotations

from typing import Any


def lp_normalization(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [d0…] → x divided by its 1-norm or 2-norm over `axis`; zero where the norm is zero."""
    from tvm import relax

    (x,) = inputs
    axis, order = attrs.get("axis", -1), attrs.get("p", 2)
    if order == 1:
        norm = relax.op.sum(bb.normalize(relax.op.abs(x)), axis, keepdims=True)
    else:
        squares = bb.normalize(relax.op.multiply(x, x))
        norm = relax.op.sqrt(bb.normalize(relax.op.sum(squares, axis, keepdims=True)))
    norm = bb.normalize(norm)
    dtype = str(x.ty.dtype)
    divisor = relax.op.where(bb.normalize(relax.op.equal(norm, relax.const(0, dtype))), relax.const(1, dtype), norm)
    return bb.normalize(relax.op.divide(x, bb.normalize(divisor)))
