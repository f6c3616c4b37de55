"""ConstantOfShape; TVM's converter writes vectors of any length out as weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper


def constant_of_shape(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """shape (constant) → a tensor of that shape, full of the attribute `value` or else of float32 zeros."""
    from tvm import ir, relax

    (shape,) = inputs
    if not isinstance(shape, ir.GenericConst):
        raise ValueError("the shape is not a constant")
    value = numpy_helper.to_array(attrs["value"]).reshape(()) if "value" in attrs else np.float32(0)
    filler = relax.const(np.asarray(value))
    return bb.normalize(relax.op.broadcast_to(filler, [int(d) for d in shape.value.numpy()]))
