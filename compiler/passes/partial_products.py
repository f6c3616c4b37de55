"""Products of 8-bit integers by constants, laid out for kernels whose vectors run along the sum.

A block of NR output channels has its weights as [kernel][step][NR][16]: the 16 of a step are one vector, as those of
the data are. Where steps do not divide what they run along, the last one begins early, with zeros for the weights of
what the one before it took.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ..kernels.dots import across, dot, word
from ..kernels.limits import Limits
from ..kernels.partial_sums import PARTIAL, tile_of
from ..kernels.weight_limit import WORD
from .constants import constant

Array = np.ndarray[Any, Any]
_STEP = 16  # elements, of a vector of bytes
_WORDS = _STEP // WORD


def partial_product(
    builder: relax.BlockBuilder,
    data: Any,
    weight: Array,
    shape: list[int],
    limits: Limits,
    name: str,
    strides: list[int] | None = None,
    dilation: list[int] | None = None,
) -> Any:
    """The call of a program for […, I] by [I, O], or for the convolution of NHWC with [KH, KW, I, O].

    Args:
        data: int8, as the weights are.
        shape: of the result.
    """
    *kernel, inputs, channels = weight.shape
    strides, dilation = strides or [1, 1], dilation or [1, 1]
    flat = bool(kernel) and dilation[1] == 1 and inputs % _STEP != 0
    if flat:  # a row of the kernel is one run of elements
        n, height, columns, _inputs = (int(d) for d in data.ty.shape)
        data = builder.emit(relax.op.reshape(data, [n, height, columns * inputs]))
        kernel, inputs, stride = [kernel[0], 1], kernel[1] * inputs, strides[1] * inputs
        weight = weight.reshape(*kernel, inputs, channels)
    run = inputs
    if inputs < _STEP:
        data = builder.emit(relax.op.nn.pad(data, [0] * (2 * len(data.ty.shape) - 1) + [_STEP - inputs]))
        run = _STEP
    steps = -(-run // _STEP)
    _, width = tile_of(shape[-2], channels, int(np.prod(kernel)) * steps, limits)
    packed = _packed(weight, run, width)

    def element(x: Any, i: Any, r: Any, place: Any) -> Any:
        at = tirx.min(r[-1] * _STEP, run - _STEP) + place
        if not kernel:
            return x(*i[:-3], at)
        n, row, column = i[:3]
        row = row * strides[0] + r[0] * dilation[0]
        return x(n, row, column * stride + at) if flat else x(n, row, column * strides[1] + r[1] * dilation[1], at)

    def compute(x: Any, w: Any) -> Any:
        r = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate([*kernel, steps])]

        def term(*i: Any) -> Any:
            *_, block, channel, partial = i
            data_word = word([element(x, i, r, partial * WORD + byte) for byte in range(WORD)])
            return te.sum(dot(data_word, w(block, *r, channel, partial), _kind(weight)), axis=r)

        sums = te.compute((*shape[:-1], packed.shape[0], width, _WORDS), term, name=PARTIAL)

        def whole(*i: Any) -> Any:
            return across([sums(*i[:-1], i[-1] // width, i[-1] % width, part) for part in range(_WORDS)])

        return te.compute(shape, whole, name="summed")

    return builder.call_te(compute, data, constant(packed), primfunc_name_hint=name)


def _kind(weight: Array) -> str:
    return "int8_partial" if weight.min() > -128 else "int8_partial_wide"


def _packed(weight: Array, run: int, width: int) -> Array:
    """[…, I, O] → [O / width, …, steps, width, words of a step]."""
    *kernel, inputs, channels = weight.shape
    steps, blocks = -(-run // _STEP), -(-channels // width)
    made = np.zeros((*kernel, steps, _STEP, blocks * width), np.int8)
    taken = 0
    for step in range(steps):
        begin = min(step * _STEP, run - _STEP)
        count = max(min(inputs, begin + _STEP) - taken, 0)
        made[..., step, taken - begin : taken - begin + count, :channels] = weight[..., taken : taken + count, :]
        taken += count
    made = made.reshape(*kernel, steps, _STEP, blocks, width)
    made = np.moveaxis(np.moveaxis(made, -2, 0), -2, -1)
    return np.ascontiguousarray(made).view("<i4")
