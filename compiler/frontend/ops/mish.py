"""Mish; TVM's converter takes the logarithm of 1 + eˣ, which is 1 for most negative x."""

from __future__ import annotations

from typing import Any

_LARGE = 20.0  # from here on the factor is 1 in float64 too


def mish(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → x · tanh(log(1 + w)) = x · n / (n + 2), where w = eˣ and n = w · (w + 2)."""
    from tvm import relax

    (given,) = inputs
    dtype = str(given.ty.dtype)
    wide = "float64" if dtype == "float64" else "float32"
    x = given if dtype == wide else bb.emit(relax.op.astype(given, wide))
    w = bb.emit(relax.op.exp(bb.emit(relax.op.minimum(x, relax.const(_LARGE, wide)))))
    two = relax.const(2.0, wide)
    n = bb.emit(relax.op.multiply(w, bb.emit(relax.op.add(w, two))))
    factor = bb.emit(relax.op.divide(n, bb.emit(relax.op.add(n, two))))
    made = bb.normalize(relax.op.multiply(x, factor))
    return made if dtype == wide else bb.normalize(relax.op.astype(bb.emit(made), dtype))
