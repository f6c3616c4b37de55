"""Range with constant bounds; TVM's converter writes it out as a weight, whatever its length."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def range_of_numbers(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """start, limit, delta (constant scalars of one type) → start, start + delta, … below the limit."""
    from tvm import ir, relax

    if not all(isinstance(i, ir.GenericConst) for i in inputs):
        raise ValueError("its bounds are not constants")
    start, limit, delta = (np.asarray(i.value.numpy()).reshape(-1)[0] for i in inputs)
    dtype = str(inputs[0].ty.dtype)
    if np.issubdtype(start.dtype, np.integer):
        count = max(-((int(start) - int(limit)) // int(delta)), 0)
    else:
        count = max(math.ceil((float(limit) - float(start)) / float(delta)), 0)
    steps = bb.normalize(relax.op.arange(0, count, 1, "int64"))
    scaled = bb.normalize(relax.op.multiply(bb.normalize(relax.op.astype(steps, dtype)), relax.const(delta, dtype)))
    return bb.normalize(relax.op.add(scaled, relax.const(start, dtype)))
