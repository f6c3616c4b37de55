"""Mod; TVM's remainder of floats is wrong for infinite divisors."""

from __future__ import annotations

from typing import Any


def modulo(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, divisor → the remainder, with x's sign if `fmod` is set, or else the divisor's."""
    from tvm import relax

    x, divisor = inputs
    dtype = str(x.ty.dtype)
    if attrs.get("fmod", 0) or "float" not in dtype:
        return bb.normalize((relax.op.mod if attrs.get("fmod", 0) else relax.op.floor_mod)(x, divisor))
    rest = bb.emit(relax.op.mod(x, divisor))
    zero = relax.const(0, dtype)
    signs = [bb.emit(relax.op.less(value, zero)) for value in (rest, divisor)]
    turned = bb.emit(relax.op.logical_xor(*signs))
    turned = bb.emit(relax.op.logical_and(turned, bb.emit(relax.op.not_equal(rest, zero))))
    return bb.normalize(relax.op.where(turned, bb.emit(relax.op.add(rest, divisor)), rest))
