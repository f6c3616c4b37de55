"""Pow of different types; TVM's converter wants one type for base and exponent."""

from __future__ import annotations

from typing import Any


def power(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """base, exponent → base's type; integers are computed in float64."""
    from tvm import relax

    base, exponent = inputs
    dtype, other = str(base.ty.dtype), str(exponent.ty.dtype)
    if "float" not in dtype:  # TVM raises floats only; float64 is exact up to 2^53
        wide = [bb.normalize(relax.op.astype(i, "float64")) for i in (base, exponent)]
        return bb.normalize(relax.op.astype(bb.normalize(relax.op.power(*wide)), dtype))
    if dtype == other:
        return bb.normalize(relax.op.power(base, exponent))
    return bb.normalize(relax.op.power(base, bb.normalize(relax.op.astype(exponent, dtype))))
