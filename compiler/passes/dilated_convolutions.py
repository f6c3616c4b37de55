"""Dilated convolutions 3x3 as dense ones of smaller images, for which there is Winograd's algorithm.

With a dilation of d, results whose places are equal modulo d are made of elements whose places are, too: d · d images
that have nothing to do with one another. Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR
2016 (arXiv:1511.07122), have the definition.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import ir, relax

from ..kernels.limits import Limits
from .rewrite import cut, operator_of, rearrange, rewrite_calls, shape_of
from .winograd import default_tile

_REARRANGED = 8.0  # multiply-adds that moving an element there, or a result back, takes the time of


def take_dilations_apart(module: tvm.IRModule, limits: Limits, stored: str | None = None) -> tvm.IRModule:
    """Rewrites conv2d (NCHW) of one group and constant weights in `main` where that pays."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        return _apart(builder, call) if _pays(call, limits, stored) else call

    return rewrite_calls(module, visit)


def _pays(call: Any, limits: Limits, stored: str | None) -> bool:
    if operator_of(call) != "relax.nn.conv2d" or 0 in shape_of(call):
        return False
    attrs, weight = call.attrs, call.args[1]
    layouts = [str(attrs.data_layout), str(attrs.kernel_layout)]
    if layouts != ["NCHW", "OIHW"] or int(attrs.groups) != 1 or any(int(stride) != 1 for stride in attrs.strides):
        return False
    outputs, inputs, *kernel = shape_of(weight)
    if not isinstance(weight, ir.GenericConst):
        return False  # Winograd's algorithm transforms it at compile time
    if kernel != [3, 3] or all(int(d) == 1 for d in attrs.dilation):
        return False
    batch, _, height, width = shape_of(call)
    down, across = (int(d) for d in attrs.dilation)
    images = [batch * down * across, -(-height // down), -(-width // across), outputs]
    plain = 9.0 * batch * height * width * inputs * outputs - _REARRANGED * math.prod(images[:3]) * (inputs + outputs)
    return bool(default_tile(call, images, inputs, limits, stored, plain))


def _apart(builder: relax.BlockBuilder, call: Any) -> Any:
    data, weight = call.args
    (batch, channels, *_), (*_, height, width) = shape_of(data), shape_of(call)
    down, across = (int(d) for d in call.attrs.dilation)
    rows, columns = -(-height // down), -(-width // across)
    top, left, *_ = (int(p) for p in call.attrs.padding)
    wanted = down * (rows + 2), across * (columns + 2)
    ends = [size - before - given for size, before, given in zip(wanted, (top, left), shape_of(data)[2:], strict=True)]
    data = builder.emit(relax.op.nn.pad(data, [0, 0, 0, 0, top, ends[0], left, ends[1]]))
    images = rearrange(
        builder,
        data,
        [batch, channels, rows + 2, down, columns + 2, across],
        [0, 3, 5, 1, 2, 4],
        [batch * down * across, channels, rows + 2, columns + 2],
    )
    made = builder.emit(relax.op.nn.conv2d(images, weight, out_dtype=call.attrs.out_dtype))
    outputs = shape_of(made)[1]
    whole = rearrange(
        builder,
        made,
        [batch, down, across, outputs, rows, columns],
        [0, 3, 4, 1, 5, 2],
        [batch, outputs, rows * down, columns * across],
    )
    sizes = [(2, height, rows * down), (3, width, columns * across)]
    return cut(builder, whole, [(axis, 0, wanted) for axis, wanted, made in sizes if wanted != made])
