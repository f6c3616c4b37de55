"""ThresholdedRelu; TVM's converter multiplies by a mask, which makes NaN of an infinity."""

from __future__ import annotations

from typing import Any


def thresholded_relu(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → x above `alpha`, zero elsewhere."""
    from tvm import relax

    (x,) = inputs
    dtype = str(x.ty.dtype)
    above = bb.emit(relax.op.greater(x, relax.const(attrs.get("alpha", 1.0), dtype)))
    return bb.normalize(relax.op.where(above, x, relax.const(0, dtype)))
