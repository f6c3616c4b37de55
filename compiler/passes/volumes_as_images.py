"""Convolutions along three axes as sums of convolutions of images, for which there are kernels and a layout.

Each tap along the first axis multiplies the images that it stands over: no data is gathered, and channels in groups
stay what they are.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from .rewrite import definitions_of, operator_of, rewrite_calls, shape_of

_SWAPPED = [0, 2, 1, 3, 4]  # depth and channels


def take_volumes_as_images(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites conv3d (NCDHW) in `main` to conv2d (NCHW) of batch · depth images."""
    if not any(operator_of(value) == "relax.nn.conv3d" for value in definitions_of(module).values()):
        return module
    return rewrite_calls(module, _visit)


def _visit(builder: relax.BlockBuilder, call: Any) -> Any:
    attrs = call.attrs
    if operator_of(call) != "relax.nn.conv3d" or 0 in shape_of(call):
        return call
    data, weight = call.args
    (batch, channels, given, height, width), depth = shape_of(data), shape_of(call)[2]
    padding, strides, dilations = (
        [int(v) for v in values] for values in (attrs.padding, attrs.strides, attrs.dilation)
    )
    images = builder.emit(relax.op.permute_dims(data, _SWAPPED))
    if padding[0] or padding[3]:
        images = builder.emit(relax.op.nn.pad(images, [0, 0, padding[0], padding[3], *[0] * 6]))
    begins = {tap: tap * dilations[0] for tap in range(shape_of(weight)[2])}
    reach = (depth - 1) * strides[0] + 1
    # Those that stand over no margin alone.
    inside = [tap for tap, begin in begins.items() if padding[0] - reach < begin < padding[0] + given] or [0]
    total = None
    for tap in inside:
        begin, end = begins[tap], begins[tap] + reach
        under = builder.emit(relax.op.strided_slice(images, [1], [begin], [end], [strides[0]]))
        made = relax.op.nn.conv2d(
            builder.emit(relax.op.reshape(under, [batch * depth, channels, height, width])),
            _tap(builder, weight, tap),
            strides=strides[1:],
            padding=[padding[axis] for axis in (1, 2, 4, 5)],
            dilation=dilations[1:],
            groups=int(attrs.groups),
            out_dtype=attrs.out_dtype,
        )
        made = builder.emit(made)
        total = made if total is None else builder.emit(relax.op.add(made, total))
    results = builder.emit(relax.op.reshape(total, [batch, depth, *shape_of(total)[1:]]))
    return builder.normalize(relax.op.permute_dims(results, _SWAPPED))


def _tap(builder: relax.BlockBuilder, weight: Any, tap: int) -> Any:
    """The weights [outputs, inputs / groups, height, width] of a tap along the depth."""
    outputs, inputs, _, *kernel = shape_of(weight)
    one = builder.emit(relax.op.take(weight, relax.const([tap], "int64"), 2))
    return builder.emit(relax.op.reshape(one, [outputs, inputs, *kernel]))
