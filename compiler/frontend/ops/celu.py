"""Celu; the standard's function body makes a tensor of a scalar."""

from __future__ import annotations

from typing import Any


def celu(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → max(0, x) + min(0, alpha · (exp(x / alpha) - 1)), of float32."""
    from tvm import relax

    (x,) = inputs
    dtype = str(x.ty.dtype)
    zero, one, alpha = (relax.const(value, dtype) for value in (0, 1, attrs.get("alpha", 1.0)))
    grown = bb.emit(relax.op.exp(bb.emit(relax.op.divide(x, alpha))))
    below = bb.emit(relax.op.multiply(alpha, bb.emit(relax.op.subtract(grown, one))))
    parts = bb.emit(relax.op.maximum(x, zero)), bb.emit(relax.op.minimum(below, zero))
    return bb.normalize(relax.op.add(*parts))
