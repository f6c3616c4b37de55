"""Group and instance normalisation: channels in groups, each normalised over the pixels of one image.

Wu and He, "Group Normalization", 2018 (arXiv:1803.08494); with a group for each channel it is instance normalisation
(Ulyanov et al., 2016, arXiv:1607.08022). With the channels last it is one kernel (kernels/group_norm.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from ..kernels.group_norm import CENTRE, FACTOR, MEAN, RESULT, SQUARES, SUM
from .define import axes_of, define

GROUP_NORM = "edgec.group_norm"
_FUSABLE = {"op_pattern": 4}  # what comes after joins; what comes before would be computed twice


def group_norm(data: Any, scale: Any, offset: Any, groups: int, epsilon: float, axes: Sequence[int] = (0, 1)) -> Any:
    """A Relax expression: (x - mean) / sqrt(variance + epsilon) · scale + offset.

    Args:
        data: of float32 or float64.
        scale, offset: [channels], of the data's type.
        groups: a divisor of the channels.
        axes: of the images, and of the channels.
    """
    return _call(data, scale, offset, axes=list(axes), groups=groups, epsilon=epsilon)


def groups_of(call: Any) -> int:
    return int(call.attrs["groups"])


def epsilon_of(call: Any) -> float:
    return float(call.attrs["epsilon"])


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    data, scale, offset = call.args
    shape = [int(size) for size in data.ty.shape]
    axes, groups, epsilon = axes_of(call), groups_of(call), epsilon_of(call)
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    if axes == [0, len(shape) - 1]:
        return builder.call_te(
            lambda x, s, o: _channels_last(x, s, o, groups, epsilon),
            *call.args,
            primfunc_name_hint="group_norm",
            primfunc_attrs=_FUSABLE,
        )
    order = [*axes, *rest]
    if order != sorted(order):
        moved = builder.emit(relax.op.permute_dims(data, order))
        normalised = builder.emit(group_norm(moved, scale, offset, groups, epsilon))
        return relax.op.permute_dims(normalised, [order.index(axis) for axis in range(len(order))])
    images, channels, size = shape[0], shape[1], math.prod(shape[2:])
    rows = builder.emit(relax.op.reshape(data, [images, groups, channels // groups * size]))
    weights = [scale, offset] if groups == channels else []
    made = builder.call_te(
        lambda *tensors: _rows(*tensors, epsilon=epsilon), rows, *weights, primfunc_name_hint="group_norm"
    )
    made = builder.emit(relax.op.reshape(builder.emit(made), shape))
    if weights:
        return made
    scale, offset = (builder.emit(relax.op.reshape(w, [channels, *[1] * len(rest)])) for w in (scale, offset))
    return relax.op.add(builder.emit(relax.op.multiply(made, scale)), offset)


def _channels_last(data: Any, scale: Any, offset: Any, groups: int, epsilon: float) -> Any:
    images, *spatial, channels = (int(size) for size in data.shape)
    size, dtype = channels // groups, str(data.dtype)
    share = tirx.const(1 / (math.prod(spatial) * size), dtype)

    def total(name: str, term: Any) -> Any:
        axes = [te.reduce_axis((0, extent), "r") for extent in (*spatial, size)]

        def element(image: Any, group: Any) -> Any:
            *pixel, member = axes
            return te.sum(term(data(image, *pixel, group * size + member), image, group), axis=axes)

        return te.compute((images, groups), element, name=name)

    sums = total(SUM, lambda value, *_: value)
    mean = te.compute((images, groups), lambda *at: sums(*at) * share, name=MEAN)
    squares = total(SQUARES, lambda value, *at: (value - mean(*at)) * (value - mean(*at)))

    def factor_of(image: Any, channel: Any) -> Any:
        variance = squares(image, channel // size) * share
        return scale(channel) / tirx.sqrt(variance + tirx.const(epsilon, dtype))

    centre = te.compute((images, channels), lambda image, channel: mean(image, channel // size), name=CENTRE)
    factor = te.compute((images, channels), factor_of, name=FACTOR)

    def result(image: Any, *at: Any) -> Any:
        return (data(image, *at) - centre(image, at[-1])) * factor(image, at[-1]) + offset(at[-1])

    return te.compute(data.shape, result, name=RESULT)


def _rows(data: Any, *weights: Any, epsilon: float) -> Any:
    """Along the last axis of three; weights are those of the middle one."""
    *outer, size = (int(size) for size in data.shape)
    dtype = str(data.dtype)
    first, second = (te.reduce_axis((0, size), "r") for _ in range(2))
    share = tirx.const(1 / size, dtype)
    sums = te.compute(outer, lambda *at: te.sum(data(*at, first), axis=first), name="total")
    mean = te.compute(outer, lambda *at: sums(*at) * share, name="mean")

    def square(*at: Any) -> Any:
        apart = data(*at, second) - mean(*at)
        return te.sum(apart * apart, axis=second)

    squares = te.compute(outer, square, name="squares")

    def number(image: Any, group: Any) -> Any:
        inverse = tirx.const(1.0, dtype) / tirx.sqrt(squares(image, group) * share + tirx.const(epsilon, dtype))
        return inverse * weights[0](group) if weights else inverse

    factor = te.compute(outer, number, name="factor")

    def result(image: Any, group: Any, at: Any) -> Any:
        value = (data(image, group, at) - mean(image, group)) * factor(image, group)
        return value + weights[1](group) if weights else value

    return te.compute(data.shape, result, name="normalised")


_call = define(GROUP_NORM, lambda call: call.args[0].ty, _legalize)
