"""Mod; TVM's converter multiplies a quotient back, which fails for infinities and rounds twice."""

from __future__ import annotations

from typing import Any


def mod(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """a, b → the remainder of a / b, of a's sign with `fmod`, or else of b's."""
    from tvm import relax

    a, b = inputs
    dtype = str(a.ty.dtype)
    if "float" not in dtype:
        return bb.normalize((relax.op.mod if attrs.get("fmod", 0) else relax.op.floor_mod)(a, b))
    rest = bb.normalize(relax.op.mod(a, b))
    if attrs.get("fmod", 0):
        return rest
    zero = relax.const(0, dtype)
    signs = [bb.normalize(relax.op.less(value, zero)) for value in (rest, b)]
    other = bb.normalize(relax.op.logical_xor(*signs))
    apart = bb.normalize(relax.op.logical_and(other, bb.normalize(relax.op.not_equal(rest, zero))))
    return bb.normalize(relax.op.where(apart, bb.normalize(relax.op.add(rest, b)), rest))
