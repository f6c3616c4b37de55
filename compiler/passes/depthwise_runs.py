"""Convolutions of 8-bit integers with one filter a channel, summed in 16 bits for a run of taps at a time.

A multiplication of 16-bit integers takes twice as many as one of float32. Sums of them may wrap around: what comes out
is right if all that it can be are no more than 2^16 values, which weights whose magnitudes add up to 255 ensure. They
are made to lie around zero, then widened and added up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ..kernels.packed import ACCUMULATOR
from ..kernels.weight_limit import MOST_OF_MAGNITUDES, RUN, runs_of_taps
from .constants import constant

Array = np.ndarray[Any, Any]


def taps_of_run(weight: Array) -> int:
    """How many taps of filters [KH, KW, C] can be summed in 16 bits; less than two are not worth it."""
    for taps in (math.prod(weight.shape[:2]), RUN, 3, 2):
        if np.abs(runs_of_taps(weight, taps)).sum(axis=1).max(initial=0) <= MOST_OF_MAGNITUDES:
            return taps
    return 1


def depthwise_runs(
    builder: relax.BlockBuilder,
    data: Any,
    weight: Array,
    shape: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    width: int,
) -> Any:
    """The call of a program for NHWC by [KH, KW, C], and what makes the int32 result of `shape` of its own.

    Args:
        data: uint8 or int8.
        weight: int8, with `taps_of_run`.
        width: channels of a vector.
    """
    rows, columns, channels = weight.shape
    spare, taps = -channels % width, rows * columns
    if spare:
        data = builder.emit(relax.op.nn.pad(data, [0] * 7 + [spare]))
        weight = np.pad(weight, [(0, 0), (0, 0), (0, spare)])
    runs = runs_of_taps(weight, taps_of_run(weight))  # [runs, taps, C]
    offsets = _middles(runs, str(data.ty.dtype))
    moved = bool(offsets.any())
    filled = np.concatenate([runs, -offsets[:, None]], axis=1) if moved else runs
    blocks = filled.shape[-1] // width
    packed = np.moveaxis(filled.reshape(1, *filled.shape[:2], blocks, width), -2, 0).astype(np.int16)

    def compute(x: Any, w: Any) -> Any:
        r = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate(packed.shape[1:3])]

        def term(n: Any, y: Any, column: Any, block: Any, lane: Any) -> Any:
            def product(which: int) -> Any:
                tap = tirx.min(r[1] * runs.shape[1] + which, taps - 1)
                at = (y * strides[0] + tap // columns * dilation[0], column * strides[1] + tap % columns * dilation[1])
                return x(n, *at, block * width + lane).astype("int16") * w(block, *r, which, lane)

            total = product(0)
            for which in range(1, runs.shape[1]):
                total = total + product(which)
            total = total + w(block, *r, runs.shape[1], lane) if moved else total
            return te.sum(total.astype("int32"), axis=r)

        sums = te.compute((*shape[:-1], blocks, width), term, name=ACCUMULATOR)
        return te.compute(shape, lambda *i: sums(*i[:-1], i[-1] // width, i[-1] % width), name="unpacked")

    made = builder.call_te(compute, data, constant(np.ascontiguousarray(packed)), primfunc_name_hint="packed_depthwise")
    if not moved:
        return made
    return relax.op.subtract(builder.emit(made), constant(-offsets.sum(axis=0, dtype=np.int32)[: shape[-1]]))


def _middles(runs: Array, dtype: str) -> Array:
    """[runs, C] int32: what lies in the middle of what the sums can be; zeros if all of them fit 16 bits anyway."""
    if dtype == "int8":
        return np.zeros((len(runs), runs.shape[-1]), np.int32)
    wide = runs.astype(np.int32)
    low, high = 255 * np.minimum(wide, 0).sum(axis=1), 255 * np.maximum(wide, 0).sum(axis=1)
    fits = low.min(initial=0) >= -(1 << 15) and high.max(initial=0) < 1 << 15
    return np.zeros_like(low) if fits else (low + high) // 2
