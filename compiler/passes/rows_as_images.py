"""Convolutions along one axis as convolutions of images of one row, for which there are kernels and a layout.

Of one column, where each channel of 8-bit integers is by itself: those kernels take their steps down a column. What
follows them element by element is done to the images too, or it would not join their kernels.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, relax

from .constants import constant
from .rewrite import bound_to, definitions_of, operator_of, rewrite_calls, shape_of
from .sink_transposes import is_elementwise


def take_rows_as_images(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites conv1d (NCW) in `main` to conv2d (NCHW, H = 1 or W = 1)."""
    if not any(operator_of(value) == "relax.nn.conv1d" for value in definitions_of(module).values()):
        return module
    return rewrite_calls(module, _visit)


def _visit(builder: relax.BlockBuilder, call: Any) -> Any:
    name = operator_of(call).removeprefix("relax.")
    if name == "nn.conv1d":
        return _conv1d(builder, call)
    if name == "nn.pad":
        return _pad(builder, call)
    return _elementwise(builder, call) if is_elementwise(call) else call


def _conv1d(builder: relax.BlockBuilder, call: Any) -> Any:
    attrs = call.attrs
    if [str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout)] != ["NCW", "OIW", "NCW"]:
        return call
    data, weight = call.args
    (images, channels, width), (outputs, inputs, taps) = shape_of(data), shape_of(weight)
    column = str(call.ty.dtype) == "int32" and inputs == 1 and outputs == channels == int(attrs.groups)

    def along(number: int, across: int) -> list[int]:
        """The sizes of two axes, of which one is the row's."""
        return [number, across] if column else [across, number]

    kernel = [outputs, inputs, *along(taps, 1)]
    if isinstance(weight, ir.GenericConst):
        weight = constant(weight.value.numpy().reshape(kernel))
    else:
        weight = builder.emit(relax.op.reshape(weight, kernel))
    image = _sized(builder, data, (images, channels, *along(width, 1)))
    before, after = (int(pad) for pad in attrs.padding)
    made = relax.op.nn.conv2d(
        image,
        weight,
        strides=along(int(attrs.strides[0]), 1),
        padding=[*along(before, 0), *along(after, 0)],
        dilation=along(int(attrs.dilation[0]), 1),
        groups=int(attrs.groups),
        out_dtype=attrs.out_dtype,
    )
    return builder.normalize(relax.op.reshape(builder.emit(made), shape_of(call)))


def _pad(builder: relax.BlockBuilder, call: Any) -> Any:
    image, attrs = _image(builder, call.args[0]), call.attrs
    if image is None:
        return call
    *outer, before, after = (int(width) for width in attrs.pad_width)
    inner = [0, 0, before, after] if shape_of(image)[2] == 1 else [before, after, 0, 0]
    made = relax.op.nn.pad(image, [*outer, *inner], str(attrs.pad_mode), float(attrs.pad_value))
    return builder.normalize(relax.op.reshape(builder.emit(made), shape_of(call)))


def _elementwise(builder: relax.BlockBuilder, call: Any) -> Any:
    """With images in the place of rows, if one of the operands is one."""
    images = [_image(builder, arg) for arg in call.args]
    tensors = [arg for arg in call.args if isinstance(arg.ty, relax.TensorType)]  # a clip's bounds are none
    if all(image is None for image in images) or any(len(shape_of(tensor)) > 3 for tensor in tensors):
        return call
    column = next(shape_of(image) for image in images if image is not None)[2] > 1
    operands = []
    for arg, image in zip(call.args, images, strict=True):
        if arg in tensors and shape_of(arg):
            outer, channels, width = (1,) * (3 - len(shape_of(arg))) + shape_of(arg)
            size = (outer, channels, width, 1) if column else (outer, channels, 1, width)
            image = _sized(builder, arg, size)
        operands.append(arg if image is None else image)
    made = builder.emit(ir.Call(call.op, operands, call.attrs, call.ty_args))
    return builder.normalize(relax.op.reshape(made, shape_of(call)))


def _sized(builder: relax.BlockBuilder, rows: Any, size: tuple[int, ...]) -> Any:
    """An image of this size with what rows have, without a reshape if they are the rows of such a one."""
    image = _image(builder, rows)
    if image is None:
        image = rows
    return image if shape_of(image) == size else builder.emit(relax.op.reshape(image, size))


def _image(builder: relax.BlockBuilder, expr: Any) -> Any:
    """The image [n, c, 1, w] or [n, c, w, 1] that an expression is the rows of; None if it is something else."""
    bound: Any = bound_to(builder, expr)
    if operator_of(bound) != "relax.reshape" or len(shape_of(bound)) != 3:
        return None
    images, channels, width = shape_of(bound)
    source = bound.args[0]
    sizes = (images, channels, 1, width), (images, channels, width, 1)
    return source if shape_of(source) in sizes else None
