"""Transposed convolutions as plain ones, which every schedule and layout pass knows; see operators/subpixel.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import relax

from ..operators.subpixel import Along, Subpixel
from .rewrite import cut, operator_of, rearrange, rewrite_calls, shape_of

_RANK = {"relax.nn.conv1d_transpose": 1, "relax.nn.conv2d_transpose": 2, "relax.nn.conv3d_transpose": 3}
_LAYOUT = {1: ("NCW", "OIW"), 2: ("NCHW", "OIHW"), 3: ("NCDHW", "OIDHW")}


def expand_transposed_convolutions(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites convN_transpose in `main`; layouts as imported."""
    return rewrite_calls(module, _expand)


def _expand(builder: relax.BlockBuilder, call: Any) -> Any:
    rank = _RANK.get(operator_of(call))
    if rank is None:
        return call
    (data, weight), attrs = call.args, call.attrs
    padding, groups = [int(p) for p in attrs.padding], int(attrs.groups)
    steps = [[int(v) for v in values] for values in (attrs.strides, attrs.dilation)]
    axes = zip(shape_of(data)[2:], shape_of(weight)[2:], *steps, padding[:rank], shape_of(call)[2:], strict=True)
    form = Subpixel(shape_of(weight), groups, tuple(Along.of(*axis) for axis in axes), tuple(steps[1]))
    convolve, (data_layout, kernel_layout) = getattr(relax.op.nn, f"conv{rank}d"), _LAYOUT[rank]
    made = [
        builder.emit(
            convolve(
                data,
                _at(builder, weight, places),
                padding=[*(axis.before for axis in form.along), *(axis.after for axis in form.along)],
                dilation=[axis.dilation for axis in form.along],
                groups=groups,
                data_layout=data_layout,
                kernel_layout=kernel_layout,
                out_dtype=attrs.out_dtype,
            )
        )
        for places in form.weight_places
    ]
    batch, sizes = shape_of(data)[0], [axis.blocks for axis in form.along]
    blocks = made[0]
    if len(made) > 1:
        apart = [builder.emit(relax.op.reshape(one, [batch, groups, 1, *sizes])) for one in made]
        blocks = builder.emit(relax.op.concat(apart, 2))
    if form.rearranges:
        blocks = rearrange(builder, blocks, [batch, *form.parts], form.order, [batch, *form.whole])
    return cut(builder, blocks, form.cuts)


def _at(builder: relax.BlockBuilder, weight: Any, places: Any) -> Any:
    """Weights at these places; zeros at -1."""
    flat = builder.emit(relax.op.reshape(weight, [math.prod(shape_of(weight))]))
    taken = builder.emit(relax.op.take(flat, relax.const(np.maximum(places, 0)), axis=0))
    if (places >= 0).all():
        return taken
    return builder.emit(relax.op.where(relax.const(places >= 0), taken, relax.const(0, str(weight.ty.dtype))))
