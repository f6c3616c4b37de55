"""Sign; TVM has none of unsigned integers, and takes NaN for zero."""

from __future__ import annotations

from typing import Any


def sign(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → -1, 0 or 1 by its sign; NaN of NaN."""
    from tvm import relax

    (x,) = inputs
    dtype = str(x.ty.dtype)
    if dtype.startswith("uint"):
        return bb.normalize(relax.op.astype(bb.emit(relax.op.not_equal(x, relax.const(0, dtype))), dtype))
    made = bb.normalize(relax.op.sign(x))
    if "float" not in dtype:
        return made
    return bb.normalize(relax.op.where(bb.emit(relax.op.isnan(x)), x, bb.emit(made)))
