"""Convolutions of 8-bit integers with one filter a channel by words of taps, for whole registers of channels.

A word is four rows of a column. As many rows of the result as divide its height share the words: each has the weights
of its own taps in them, and zeros for those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ..kernels.depthwise import ACCUMULATOR
from ..kernels.limits import Limits
from ..kernels.weight_limit import WORD
from .constants import constant
from .numbers import Numbers

Array = np.ndarray[Any, Any]


def depthwise_words(
    builder: relax.BlockBuilder,
    data: Any,
    weight: Array,
    shape: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    numbers: Numbers,
    limits: Limits,
) -> Any:
    """The call of a program for NHWC by [KH, KW, C].

    Args:
        data: of the type of `numbers`.
        weight: int8.
        shape: of the result, int32.
    """
    together = _together(len(weight), shape[1], strides[0], dilation[0])
    taps = len(weight) + together - 1
    shifted = np.stack([np.pad(weight, [(row, together - 1 - row), (0, 0), (0, 0)]) for row in range(together)])
    parts = [numbers.of_taps(each, limits) for each in shifted]
    numbers, packed = parts[0][0], np.stack([words for _, words in parts])  # [together, words, KW, C]

    def compute(x: Any, w: Any) -> Any:
        r = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate(packed.shape[1:3])]

        def term(n: Any, y: Any, column: Any, channel: Any) -> Any:
            first, place = tirx.floordiv(y, together) * together * strides[0], tirx.floormod(y, together)

            def element(tap: Any) -> Any:
                value = x(n, first + tap * dilation[0], column * strides[1] + r[1] * dilation[1], channel)
                inside = taps % WORD == 0
                return value if inside else tirx.if_then_else(tap < taps, value, tirx.const(0, numbers.dtype))

            return te.sum(numbers.multiply(element, r[0], w(place, *r, channel)), axis=r)

        sums = te.compute(shape, term, name=ACCUMULATOR)
        return te.compute(shape, lambda *i: sums(*i), name="unpacked")

    return builder.call_te(compute, data, constant(packed), primfunc_name_hint="packed_depthwise")


def _together(rows: int, height: int, stride: int, dilation: int) -> int:
    """Rows of the result that share words: as many as need no more of them than one row does."""
    most = 1 + -rows % WORD if stride == dilation == 1 else 1
    return next(count for count in range(most, 0, -1) if height % count == 0)
