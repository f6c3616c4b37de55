"""MaxRoiPool; TVM's converter rounds halves to even numbers, others away from zero."""

from __future__ import annotations

from typing import Any


def max_roi_pool(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [images, channels, height, width], regions [n, 5]: image and corners → [n, channels, *pooled_shape]."""
    from tvm import relax

    x, regions = inputs
    dtype = str(regions.ty.dtype)
    images = bb.emit(relax.op.strided_slice(regions, [1], [0], [1]))
    corners = bb.emit(relax.op.strided_slice(regions, [1], [1], [5]))
    corners = bb.emit(relax.op.multiply(corners, relax.const(attrs.get("spatial_scale", 1.0), dtype)))
    whole = bb.emit(relax.op.floor(bb.emit(relax.op.add(bb.emit(relax.op.abs(corners)), relax.const(0.5, dtype)))))
    corners = bb.emit(relax.op.multiply(bb.emit(relax.op.sign(corners)), whole))
    regions = bb.emit(relax.op.concat([images, corners], 1))
    return bb.normalize(relax.op.vision.roi_pool(x, regions, tuple(attrs["pooled_shape"]), 1.0))
