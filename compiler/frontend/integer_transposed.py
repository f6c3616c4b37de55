"""Transposed convolutions of 8-bit tensors as plain ones; see operators/subpixel.py.

As passes/transposed_convolution.py does it for floats.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ..operators.subpixel import Along, Subpixel
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
    strides, dilations = (list(attributes.get(name, [1] * axes)) for name in ("strides", "dilations"))
    beyond = list(attributes.get("output_padding", [0] * axes))
    reach = [
        (size - 1) * s + (k - 1) * d + 1 for size, s, k, d in zip(shape[2:], strides, kernel, dilations, strict=True)
    ]
    before, results = window_of(list(shape[2:]), reach, strides, beyond, dict(attributes))
    along = zip(shape[2:], kernel, strides, dilations, before, results, strict=True)
    form = Subpixel(weight.shape, groups, tuple(Along.of(*axis) for axis in along), tuple(dilations))
    if not rewriter.fits(weight.shape[0] // groups * math.prod(axis.taps for axis in form.along)):
        return False
    sums = [_convolved(rewriter, node, x, xs, weight, ws, form, number) for number in range(len(form.weight_places))]
    acc = sums[0] if len(sums) == 1 else _together(rewriter, node, sums, form, shape[0])
    bias, column = node.input[2] if len(node.input) > 2 else "", [-1] + [1] * axes
    moved = form.rearranges or bool(form.cuts)
    made = rewriter.finish(node, acc, xs.scale * ws.scale, bias, column, "blocks" if moved else "", form.channels)
    if form.rearranges:
        made = _rearranged(rewriter, node, made, form, shape[0])
    if form.cuts:
        axes_cut, begins, ends = map(np.array, zip(*form.cuts, strict=True))
        window = {"begins": begins, "ends": ends, "axes": axes_cut}
        rewriter.add(node, "", "Slice", [made, *(rewriter.constant(node, *one) for one in window.items())])
    return True


def _convolved(
    rewriter: Rewriter, node: onnx.NodeProto, x: str, xs: Step, weight: Array, ws: Step, form: Subpixel, number: int
) -> str:
    """The sums of one of the plain convolutions."""
    places = form.weight_places[number]
    zero = ws.zero[form.channels] if ws.zero.ndim else ws.zero
    none = zero.reshape(-1, *[1] * (places.ndim - 1)).astype(weight.dtype)
    plain = np.where(places < 0, none, weight.reshape(-1)[places])
    constants = [
        rewriter.constant(node, f"weights{number}", plain),
        rewriter.zero(node, f"x{number}", xs, xs.zero),
        rewriter.zero(node, f"w{number}", ws, zero),
    ]
    return rewriter.add(
        node,
        f"sums{number}",
        "ConvInteger",
        [x, *constants],
        kernel_shape=[axis.taps for axis in form.along],
        dilations=[axis.dilation for axis in form.along],
        pads=[*(axis.before for axis in form.along), *(axis.after for axis in form.along)],
        group=form.groups,
    )


def _together(rewriter: Rewriter, node: onnx.NodeProto, sums: list[str], form: Subpixel, batch: int) -> str:
    """The sums of convolutions for a place of a block each, [batch, channels, *blocks], as those of all places."""
    sizes = [axis.blocks for axis in form.along]
    shapes = {"apart": [batch, form.groups, 1, *sizes], "all": [batch, form.groups * len(sums), *sizes]}
    apart, whole = (rewriter.constant(node, f"{name}_shape", np.array(one)) for name, one in shapes.items())
    columns = [rewriter.add(node, f"apart{number}", "Reshape", [one, apart]) for number, one in enumerate(sums)]
    return rewriter.add(node, "sums", "Reshape", [rewriter.add(node, "columns", "Concat", columns, axis=2), whole])


def _rearranged(rewriter: Rewriter, node: onnx.NodeProto, blocks: str, form: Subpixel, batch: int) -> str:
    """[batch, channels of all blocks' places, *blocks] → [batch, channels, *sizes]."""
    parts, whole = (np.array([batch, *sizes], np.int64) for sizes in (form.parts, form.whole))
    split = rewriter.add(node, "split", "Reshape", [blocks, rewriter.constant(node, "parts", parts)])
    mixed = rewriter.add(node, "mixed", "Transpose", [split], perm=form.order)
    return rewriter.add(node, "rows" if form.cuts else "", "Reshape", [mixed, rewriter.constant(node, "whole", whole)])
