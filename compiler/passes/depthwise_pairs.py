"""Convolutions of 8-bit integers with one filter a channel, where vectors of bytes multiply to 16 bits.

Two products fit there together, or more where weights are small, which saves most of the additions in 32 bits.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ..kernels.packed import ACCUMULATOR
from .constants import constant
from .partial_products import fits_16_bits

_WIDTH = 8  # channels of a vector of 16 bits an element


def depthwise_pairs(
    builder: relax.BlockBuilder,
    data: Any,
    weight: np.ndarray[Any, Any],
    shape: list[int],
    strides: list[int],
    dilation: list[int],
) -> Any:
    """The call of a program for NHWC by [KH, KW, C], both int8; none of the weights -128, which pairs have no room for.

    Args:
        shape: of the result, int32.
    """
    rows, columns, channels = weight.shape
    taps, blocks = rows * columns, -(-channels // _WIDTH)
    together = _together(weight.reshape(taps, channels))
    spare = blocks * _WIDTH - channels
    if spare:
        data = builder.emit(relax.op.nn.pad(data, [0] * 7 + [spare]))
    steps = np.pad(weight.reshape(taps, channels), [(0, -taps % together), (0, spare)])
    packed = np.ascontiguousarray(np.moveaxis(steps.reshape(1, -1, together, blocks, _WIDTH), -2, 0))

    def compute(x: Any, w: Any) -> Any:
        r = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate(packed.shape[1:3])]

        def term(n: Any, y: Any, column: Any, block: Any, lane: Any) -> Any:
            def product(which: int) -> Any:
                tap = r[1] * together + which
                if which >= taps % together > 0:  # beyond the last one, in the last step
                    tap = tirx.min(tap, taps - 1)
                at = (y * strides[0] + tap // columns * dilation[0], column * strides[1] + tap % columns * dilation[1])
                element = x(n, *at, block * _WIDTH + lane)
                return element.astype("int16") * w(block, *r, which, lane).astype("int16")

            products = [product(which) for which in range(together)]
            return te.sum(reduce(operator.add, products).astype("int32"), axis=r)

        sums = te.compute((*shape[:-1], blocks, _WIDTH), term, name=ACCUMULATOR)
        return te.compute(shape, lambda *i: sums(*i[:-1], i[-1] // _WIDTH, i[-1] % _WIDTH), name="unpacked")

    return builder.call_te(compute, data, constant(packed), primfunc_name_hint="packed_depthwise")


def _together(weight: np.ndarray[Any, Any]) -> int:
    """How many products of taps [taps, C] are best added in 16 bits, if any data leave room for so many."""
    taps = len(weight)

    def cost(count: int) -> int:
        return -(-taps // count) * (count + 2)  # to multiply, and to add both halves in 32 bits

    def fits(count: int) -> bool:
        filled = np.pad(weight, [(0, -taps % count), (0, 0)])
        return fits_16_bits(filled.reshape(-1, count, weight.shape[1]))

    return min((count for count in range(2, max(taps, 2) + 1) if count == 2 or fits(count)), key=cost)
