"""Dilated convolutions 3x3 as dense ones of smaller images, for which there is Winograd's algorithm.

With a dilation of d, results whose places are equal modulo d are made of elements whose places are, too: d · d images
that have nothing to do with one another. Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR
2016 (arXiv:1511.07122), have the definition.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax

from ..kernels.limits import Limits
from .numbers import computes_in
from .rewrite import operator_of, rewrite_calls, shape_of
from .winograd import choose_tile, integer_tile

_REARRANGED = 8.0  # multiply-adds that moving an element there, or a result back, takes the time of


def take_dilations_apart(module: tvm.IRModule, limits: Limits, stored: str | None = None) -> tvm.IRModule:
    """Rewrites conv2d (NCHW) of one group and constant weights in `main` where that pays."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        return _apart(builder, call) if _pays(call, limits, stored) else call

    return rewrite_calls(module, visit)


def _pays(call: Any, limits: Limits, stored: str | None) -> bool:
    if operator_of(call) != "relax.nn.conv2d" or 0 in shape_of(call):
        return False
    data, weight = call.args
    attrs, types = call.attrs, [str(value.ty.dtype) for value in (call, data, weight)]
    layouts = [str(attrs.data_layout), str(attrs.kernel_layout)]
    if layouts != ["NCHW", "OIHW"] or int(attrs.groups) != 1 or any(int(stride) != 1 for stride in attrs.strides):
        return False
    outputs, inputs, *kernel = shape_of(weight)
    if kernel != [3, 3] or all(int(d) == 1 for d in attrs.dilation):
        return False
    batch, _, height, width = shape_of(call)
    down, across = (int(d) for d in attrs.dilation)
    images = [batch * down * across, -(-height // down), -(-width // across), outputs]
    plain = 9.0 * batch * height * width * inputs * outputs - _REARRANGED * math.prod(images[:3]) * (inputs + outputs)
    if types[0] == "int32":
        narrow = types[2] == "int8" and types[1] in ("uint8", "int8")
        return narrow and bool(integer_tile(images, inputs, limits, plain))
    speed = 2 if computes_in(stored, limits) else 1
    return types[0] == "float32" and bool(choose_tile(images, inputs, speed, plain=plain))


def _apart(builder: relax.BlockBuilder, call: Any) -> Any:
    data, weight = call.args
    (batch, channels, *_), (*_, height, width) = shape_of(data), shape_of(call)
    down, across = (int(d) for d in call.attrs.dilation)
    rows, columns = -(-height // down), -(-width // across)
    top, left, *_ = (int(p) for p in call.attrs.padding)
    wanted = down * (rows + 2), across * (columns + 2)
    ends = [size - before - given for size, before, given in zip(wanted, (top, left), shape_of(data)[2:], strict=True)]
    data = builder.emit(relax.op.nn.pad(data, [0, 0, 0, 0, top, ends[0], left, ends[1]]))
    split = builder.emit(relax.op.reshape(data, [batch, channels, rows + 2, down, columns + 2, across]))
    mixed = builder.emit(relax.op.permute_dims(split, [0, 3, 5, 1, 2, 4]))
    images = builder.emit(relax.op.reshape(mixed, [batch * down * across, channels, rows + 2, columns + 2]))
    made = builder.emit(relax.op.nn.conv2d(images, weight, out_dtype=call.attrs.out_dtype))
    outputs = shape_of(made)[1]
    split = builder.emit(relax.op.reshape(made, [batch, down, across, outputs, rows, columns]))
    mixed = builder.emit(relax.op.permute_dims(split, [0, 3, 4, 1, 5, 2]))
    whole = builder.emit(relax.op.reshape(mixed, [batch, outputs, rows * down, columns * across]))
    if (rows * down, columns * across) == (height, width):
        return whole
    return builder.emit(relax.op.strided_slice(whole, [2, 3], [0, 0], [height, width]))
