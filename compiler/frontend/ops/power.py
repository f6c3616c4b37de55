"""Pow of different types; TVM's converter wants one type for base and exponent."""

from __future__ import annotations

from typing import Any


def power(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """base, exponent → base's type; an integer base with a fractional exponent is computed in float."""
    from tvm import relax

    base, exponent = inputs
    dtype, other = str(base.ty.dtype), str(exponent.ty.dtype)
    if dtype == other:
        return bb.normalize(relax.op.power(base, exponent))
    if "float" in other and "float" not in dtype:
        made = bb.normalize(relax.op.power(bb.normalize(relax.op.astype(base, other)), exponent))
        return bb.normalize(relax.op.astype(made, dtype))
    return bb.normalize(relax.op.power(base, bb.normalize(relax.op.astype(exponent, dtype))))
