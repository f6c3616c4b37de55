"""IsInf; TVM's converter does not look at the sign."""

from __future__ import annotations

from typing import Any


def is_inf(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → bool: infinite, of the signs that `detect_positive` and `detect_negative` ask for."""
    from tvm import relax

    (x,) = inputs
    dtype = str(x.ty.dtype)
    hits = [
        bb.normalize(relax.op.equal(x, relax.const(float(sign), dtype)))
        for sign, attribute in (("inf", "detect_positive"), ("-inf", "detect_negative"))
        if attrs.get(attribute, 1)
    ]
    if not hits:
        return bb.normalize(relax.op.zeros(x.ty.shape, "bool"))
    return hits[0] if len(hits) == 1 else bb.normalize(relax.op.logical_or(*hits))
