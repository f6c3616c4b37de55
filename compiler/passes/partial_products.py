"""Products of 8-bit integers by constants, laid out for kernels whose vectors run along the sum.

A block of NR output channels has its weights as [kernel][round][NR][vectors of a round][16]: 16 are one vector, as
those of the data are. Where vectors do not divide what they run along, the last one begins early, with zeros for the
weights of what the one before it took. A round is one vector, or two where the weights are small enough for four
products to be summed in 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ..kernels.dots import across, dot, dot_of_two, word
from ..kernels.limits import Limits
from ..kernels.partial_sums import FEW, PARTIAL, tile_of
from ..kernels.weight_limit import VECTOR, WORD, in_fours, in_vectors
from .constants import constant
from .runs_of_data import runs_of

Array = np.ndarray[Any, Any]
_WORDS = VECTOR // WORD


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
    runs = runs_of(builder, data, weight, VECTOR, strides or [1, 1], dilation or [1, 1])
    kernel, weight, channels = runs.kernel, runs.weight, weight.shape[-1]
    vectors = 2 if runs.steps > 1 and fits_16_bits(in_fours(weight)) else 1
    rounds = -(-runs.steps // vectors)
    _, width = tile_of(shape[-2], channels, int(np.prod(kernel)) * rounds, vectors, limits)
    packed = _packed(in_vectors(weight), width, vectors)

    def compute(x: Any, w: Any) -> Any:
        r = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate([*kernel, rounds])]

        def term(*i: Any) -> Any:
            *at, block, channel, partial = i

            def words(which: int) -> tuple[Any, Any]:
                step = r[-1] * vectors + which
                elements = [runs.element(x, at, r, step, partial * WORD + byte) for byte in range(WORD)]
                if which and runs.steps % 2 and rounds <= FEW:  # else zeros are multiplied once more
                    elements = [tirx.if_then_else(step < runs.steps, e, tirx.const(0, "int8")) for e in elements]
                return word(elements), w(block, *r, channel, which, partial)

            return te.sum(dot_of_two(*words(0), *words(1)) if vectors > 1 else dot(*words(0), _kind(weight)), axis=r)

        sums = te.compute((*shape[:-1], packed.shape[0], width, _WORDS), term, name=PARTIAL)

        def whole(*i: Any) -> Any:
            return across([sums(*i[:-1], i[-1] // width, i[-1] % width, part) for part in range(_WORDS)])

        return te.compute(shape, whole, name="summed")

    return builder.call_te(compute, runs.data, constant(packed), primfunc_name_hint=name)


def _kind(weight: Array) -> str:
    return "int8_partial" if weight.min() > -128 else "int8_partial_wide"


def fits_16_bits(weight: Array) -> bool:
    """Whether sums of products of [..., terms, O] with any int8 data do."""
    wide = weight.astype(np.int32)
    above, below = np.maximum(wide, 0).sum(axis=-2), np.maximum(-wide, 0).sum(axis=-2)
    greatest, least = 127 * above + 128 * below, 128 * above + 127 * below
    return bool(greatest.max(initial=0) < 1 << 15 and least.max(initial=0) <= 1 << 15)


def _packed(steps: Array, width: int, vectors: int) -> Array:
    """[..., steps, 16, O] → [O / width, …, rounds, width, vectors of a round, words of one]."""
    *kernel, count, _step, channels = steps.shape
    filled = np.pad(steps, [*[(0, 0)] * len(kernel), (0, -count % vectors), (0, 0), (0, -channels % width)])
    made = filled.reshape(*kernel, -1, vectors, VECTOR, filled.shape[-1] // width, width)
    made = np.moveaxis(np.moveaxis(made, -2, 0), -1, -3)
    return np.ascontiguousarray(made).view("<i4")
