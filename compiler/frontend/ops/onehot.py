"""OneHot; TVM's converter takes the depth as a scalar only, and casts the values to the wrong type."""

from __future__ import annotations

from typing import Any

import numpy as np


def one_hot(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """indices [d0…], depth (constant), values [off, on] → [d0…, depth, …] with the new axis at `axis`."""
    from tvm import ir, relax

    indices, depth, values = inputs
    if not isinstance(depth, ir.GenericConst):
        raise ValueError("the depth is not a constant")
    size = int(np.asarray(depth.value.numpy()).reshape(()))
    rank = len(indices.ty.shape)
    axis = attrs.get("axis", -1)
    axis += rank + 1 if axis < 0 else 0
    dtype = str(indices.ty.dtype)
    # Computed, for a depth may be larger than memory.
    steps = bb.normalize(
        relax.op.reshape(bb.normalize(relax.op.arange(0, size, 1, dtype)), [size] + [1] * (rank - axis))
    )
    wrapped = relax.op.where(
        relax.op.less(indices, relax.const(0, dtype)),
        relax.op.add(indices, relax.const(size, dtype)),
        indices,
    )
    hit = relax.op.equal(relax.op.expand_dims(wrapped, axis), steps)
    off, on = (relax.op.reshape(v, []) for v in (relax.op.strided_slice(values, [0], [i], [i + 1]) for i in (0, 1)))
    return bb.normalize(relax.op.where(bb.normalize(hit), bb.normalize(on), bb.normalize(off)))
