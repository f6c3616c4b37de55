"""DeformConv, which TVM does not convert."""

from __future__ import annotations

import math
from typing import Any


def deform_conv(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, weight [filters, channels / group, *kernel], offsets, bias, mask → [batch, filters, *positions]."""
    from tvm import relax

    from ...operators.deform import deformed_columns

    x, weight, offsets, bias, mask = (*inputs, None, None)[:5]
    batch = int(x.ty.shape[0])
    filters, depth, *kernel = (int(size) for size in weight.ty.shape)
    positions = [int(size) for size in offsets.ty.shape][2:]
    axes, taps, group = len(kernel), math.prod(kernel), attrs.get("group", 1)
    parts = attrs.get("offset_group", 1)
    ones = [1] * axes
    strides, dilations = attrs.get("strides", ones), attrs.get("dilations", ones)
    before = attrs.get("pads", [0] * 2 * axes)[:axes]
    offsets = bb.emit(relax.op.reshape(offsets, [batch, parts, taps, axes, *positions]))
    if mask is not None:
        mask = bb.emit(relax.op.reshape(mask, [batch, parts, taps, *positions]))
    columns = bb.emit(deformed_columns(x, offsets, mask, kernel, strides, dilations, before))
    columns = bb.emit(relax.op.reshape(columns, [batch, group, depth * taps, math.prod(positions)]))
    weight = bb.emit(relax.op.reshape(weight, [1, group, filters // group, depth * taps]))
    made = bb.emit(relax.op.matmul(weight, columns))
    made = bb.emit(relax.op.reshape(made, [batch, filters, *positions]))
    if bias is None:
        return made
    return bb.normalize(relax.op.add(made, bb.emit(relax.op.reshape(bias, [1, filters, *ones]))))
