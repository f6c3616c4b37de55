"""AffineGrid; TVM's converter refuses axes of one element with aligned corners."""

from __future__ import annotations

from typing import Any

import numpy as np


def affine_grid(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """theta [batch, axes, axes + 1], size [batch, channels, *sizes] (constant) → points [batch, *sizes, axes].

    Along each axis the elements lie evenly in -1 … 1, with `align_corners` from end to end; a single one at -1 then.
    """
    from tvm import ir, relax

    theta, size = inputs
    if not isinstance(size, ir.GenericConst):
        raise ValueError("its size is not constant")
    batch, _channels, *sizes = (int(n) for n in size.value.numpy())
    if attrs.get("align_corners", 0):
        lines = [np.linspace(-1, 1, n) for n in sizes]
    else:
        lines = [(np.arange(n) * 2 + 1) / n - 1 for n in sizes]
    points = np.meshgrid(*lines, indexing="ij")[::-1]  # the last axis comes first
    table = np.stack([*(p.reshape(-1) for p in points), np.ones(points[0].size)], axis=1)
    turned = bb.emit(relax.op.permute_dims(theta, [0, 2, 1]))
    made = bb.emit(relax.op.matmul(relax.const(table, str(theta.ty.dtype)), turned))
    return bb.normalize(relax.op.reshape(made, [batch, *sizes, len(sizes)]))
