"""Col2Im, which TVM does not convert."""

from __future__ import annotations

from typing import Any


def col2im(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """columns [batch, channels · block, positions], image and block shapes (constants) → [batch, channels, *image]."""
    from tvm import ir, relax

    from ...operators.columns import overlay

    columns, *shapes = inputs
    if not all(isinstance(shape, ir.GenericConst) for shape in shapes):
        raise ValueError("its image_shape or block_shape is not constant")
    image, block = ([int(n) for n in shape.value.numpy()] for shape in shapes)
    axes = len(image)
    ones, pads = [1] * axes, attrs.get("pads", [0] * 2 * axes)
    dilations, strides = attrs.get("dilations", ones), attrs.get("strides", ones)
    positions = [
        (size + low + high - (taps - 1) * dilation - 1) // stride + 1
        for size, low, high, taps, dilation, stride in zip(
            image, pads[:axes], pads[axes:], block, dilations, strides, strict=True
        )
    ]
    batch = int(columns.ty.shape[0])
    apart = bb.emit(relax.op.reshape(columns, [batch, -1, *block, *positions]))
    return bb.normalize(overlay(apart, image, block, dilations, strides, pads[:axes]))
