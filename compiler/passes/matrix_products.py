"""Products of 8-bit integers by constants, laid out for kernels that multiply two rows by two columns at once.

A block of NR output channels has its weights as [kernel][step][NR / 2][2][8]: 8 along the sum of two channels are a
vector, to which 8 of each of two rows of data belong. Where steps do not divide what they run along, the last one
begins early, with zeros for the weights of what the one before it took.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ..kernels.dots import dot_of_matrices, word
from ..kernels.limits import Limits
from ..kernels.matrix_sums import MATRICES, STEP, tile_of
from ..kernels.weight_limit import WORD, in_vectors
from .constants import constant
from .runs_of_data import runs_of

Array = np.ndarray[Any, Any]


def matrix_product(
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
        shape: of the result, with two rows at least.
    """
    runs = runs_of(builder, data, weight, STEP, strides or [1, 1], dilation or [1, 1])
    rows, channels, kernel = shape[-2], shape[-1], runs.kernel
    height, width = tile_of(rows, channels, math.prod(kernel) * runs.steps, limits)
    packed = _packed(in_vectors(runs.weight, STEP), width)
    pairs = -(-rows // height) * height // 2  # of whole tiles, the last of which has the last row several times

    def compute(x: Any, w: Any) -> Any:
        r = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate([*kernel, runs.steps])]

        def term(*i: Any) -> Any:
            *outer, pair, block, column, place = i

            def words(row: Any) -> list[Any]:
                at = [*outer, tirx.min(row, rows - 1) if 2 * pairs > rows else row]
                elements = [runs.element(x, at, r, r[-1], byte) for byte in range(STEP)]
                return [word(elements[begin : begin + WORD]) for begin in range(0, STEP, WORD)]

            columns = [w(block, *r, column, number) for number in range(2 * STEP // WORD)]
            return te.sum(dot_of_matrices(words(2 * pair) + words(2 * pair + 1), columns, place), axis=r)

        sums = te.compute((*shape[:-2], pairs, packed.shape[0], width // 2, 4), term, name=MATRICES)

        def element(*i: Any) -> Any:
            *outer, row, channel = i
            at = [tirx.floordiv(row, 2), tirx.floordiv(channel, width), tirx.floordiv(tirx.floormod(channel, width), 2)]
            return sums(*outer, *at, tirx.floormod(row, 2) * 2 + tirx.floormod(channel, 2))

        return te.compute(shape, element, name="apart")

    return builder.call_te(compute, runs.data, constant(packed), primfunc_name_hint=name)


def _packed(steps: Array, width: int) -> Array:
    """[…, steps, 8, O] → [O / width, …, steps, width / 2, words of two channels]."""
    filled = np.pad(steps, [*[(0, 0)] * (steps.ndim - 1), (0, -steps.shape[-1] % width)])
    made = filled.reshape(*filled.shape[:-1], -1, width)
    made = np.moveaxis(np.moveaxis(made, -2, 0), -1, -2)  # [blocks, …, steps, width, 8]
    return np.ascontiguousarray(made).view("<i4").reshape(*made.shape[:-2], width // 2, 2 * STEP // WORD)
