"""Transposed convolutions of 8-bit tensors as plain ones, whose zeros are the data's zero point.

As passes/transposed_convolution.py does it for floats, where zeros need no care.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from .graph import attributes_of
from .ops.conv_transpose import window_of
from .quantised import Array, Step

if TYPE_CHECKING:
    from .integer_form import Rewriter


def transposed(rewriter: Rewriter, node: onnx.NodeProto) -> bool:
    """Rewrites a ConvTranspose of dequantised data and constant weights; returns whether it is one."""
    found, shape = rewriter.operands(node, 1), rewriter.values.shape(node.input[0])
    attributes = attributes_of(node)
    groups = int(attributes.get("group", 1))
    if found is None or shape is None or len(shape) > 5:
        return False
    (x, xs), (w, ws) = found
    weight = rewriter.values.constant(w)
    if weight is None or (groups > 1 and not ws.single) or 0 in (*shape, *weight.shape):
        return False
    axes, kernel = len(shape) - 2, list(weight.shape[2:])
    if not rewriter.fits(weight.shape[0] // groups * math.prod(kernel)):
        return False
    strides, dilations = (list(attributes.get(name, [1] * axes)) for name in ("strides", "dilations"))
    beyond = list(attributes.get("output_padding", [0] * axes))
    reach = [
        (size - 1) * s + (k - 1) * d + 1 for size, s, k, d in zip(shape[2:], strides, kernel, dilations, strict=True)
    ]
    before, results = window_of(list(shape[2:]), reach, strides, beyond, dict(attributes))
    bias = node.input[2] if len(node.input) > 2 else ""
    if (
        kernel == strides
        and groups == 1
        and not any(before)
        and results == reach
        and set(dilations) == {1}
        and not bias
    ):
        _apart(rewriter, node, (x, xs), (weight, ws), shape)
        return True
    spread = _spread(rewriter, node, x, xs, shape, strides)
    widths = [0, 0]
    ends = [0, 0]
    for axis in range(axes):
        margin = (kernel[axis] - 1) * dilations[axis]
        widths.append(margin - before[axis])
        ends.append(results[axis] + margin - widths[-1] - shape[2 + axis] * strides[axis])
    if any(widths + ends):
        pads = rewriter.constant(node, "pads", np.array(widths + ends, np.int64))
        spread = rewriter.add(node, "margins", "Pad", [spread, pads, rewriter.zero(node, "fill", xs, xs.zero)])
    plain = rewriter.constant(node, "weights", _exchanged(weight, groups))
    inputs = [spread, plain, rewriter.zero(node, "x", xs, xs.zero), rewriter.zero(node, "w", ws, ws.zero)]
    acc = rewriter.add(node, "sums", "ConvInteger", inputs, kernel_shape=kernel, dilations=dilations, group=groups)
    rewriter.finish(node, acc, xs.scale * ws.scale, bias, [-1] + [1] * axes)
    return True


def _exchanged(weight: Array, groups: int) -> Array:
    """[I, O/g, …] → [O, I/g, …], flipped along the spatial axes."""
    inputs, outputs, *kernel = weight.shape
    flipped = np.flip(weight, tuple(range(2, weight.ndim)))
    split = flipped.reshape(groups, inputs // groups, outputs, *kernel)
    return np.ascontiguousarray(np.swapaxes(split, 1, 2)).reshape(groups * outputs, inputs // groups, *kernel)


def _spread(
    rewriter: Rewriter, node: onnx.NodeProto, x: str, step: Step, shape: tuple[int, ...], strides: list[int]
) -> str:
    """[N, C, H, …] → [N, C, H·s, …] with s - 1 zero points behind each element."""
    if set(strides) == {1}:
        return x
    apart, ends, flat = list(shape[:2]), [0, 0], list(shape[:2])
    for size, stride in zip(shape[2:], strides, strict=True):
        apart += [size, 1]
        ends += [0, stride - 1]
        flat.append(size * stride)
    x = rewriter.add(node, "apart", "Reshape", [x, rewriter.constant(node, "elements", np.array(apart, np.int64))])
    pads = rewriter.constant(node, "gaps", np.array([0] * len(ends) + ends, np.int64))
    x = rewriter.add(node, "spread", "Pad", [x, pads, rewriter.zero(node, "gap", step, step.zero)])
    return rewriter.add(node, "data", "Reshape", [x, rewriter.constant(node, "sizes", np.array(flat, np.int64))])


def _apart(
    rewriter: Rewriter, node: onnx.NodeProto, data: tuple[str, Step], weights: tuple[Any, Step], shape: tuple[int, ...]
) -> None:
    """Kernels as wide as the stride do not overlap: one product makes a block of results of each element."""
    (x, xs), (weight, ws) = data, weights
    inputs, outputs, *kernel = weight.shape
    rank, places = len(kernel), math.prod(kernel)
    moved = np.ascontiguousarray(np.transpose(weight, [*range(2, rank + 2), 1, 0])).reshape(-1, inputs, *[1] * rank)
    scale, zero = (np.tile(value, places) if value.ndim else value for value in (ws.scale, ws.zero))
    plain = rewriter.constant(node, "weights", moved)
    operands = [x, plain, rewriter.zero(node, "x", xs, xs.zero), rewriter.zero(node, "w", ws, zero)]
    acc = rewriter.add(node, "sums", "ConvInteger", operands, kernel_shape=[1] * rank)
    product = rewriter.finish(node, acc, xs.scale * scale, "", [-1] + [1] * rank, "products")
    parts = np.array([shape[0], *kernel, outputs, *shape[2:]], np.int64)
    blocks = rewriter.add(node, "blocks", "Reshape", [product, rewriter.constant(node, "parts", parts)])
    order = [0, 1 + rank, *(axis for i in range(rank) for axis in (2 + rank + i, 1 + i))]
    mixed = rewriter.add(node, "mixed", "Transpose", [blocks], perm=order)
    whole = np.array([shape[0], outputs, *(n * k for n, k in zip(shape[2:], kernel, strict=True))], np.int64)
    rewriter.add(node, "", "Reshape", [mixed, rewriter.constant(node, "whole", whole)])
