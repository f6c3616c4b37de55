"""What a convolution of few channels multiplies for each output, copied side by side.

A row of its kernel is too short for vectors of bytes along the sum; all its rows together are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tvm import relax
from tvm.script.ir_builder import tirx as T

from ..kernels.limits import Limits
from ..kernels.weight_limit import VECTOR
from ..operators.by_hand import independent, program, reshaped, serial, whole

Array = np.ndarray[Any, Any]
_MOST_BYTES = 1 << 22  # of all patches
_PRODUCTS = 2.6  # instructions for those of a vector
_COPY = 2.5  # of a piece


def takes_patches(kernel: Sequence[int], shape: Sequence[int], dilation: int, limits: Limits) -> bool:
    """Whether a convolution of 8-bit integers takes fewer instructions on patches.

    Args:
        kernel: [KH, KW, I].
        shape: of the result, [N, H, W, O].
        dilation: along a row.
    """
    rows, run, *_, outputs = kernel[0], kernel[1] * kernel[2], shape[-1]
    size = rows * run
    if not limits.partial_sums or dilation > 1 or math.prod(shape[:3]) * size > _MOST_BYTES or size < VECTOR:
        return False
    copies = _COPY * rows * len(list(_pieces(run)))
    return _vectors(size) * _PRODUCTS * outputs + copies < rows * _vectors(run) * _PRODUCTS * outputs


def patches(
    builder: relax.BlockBuilder, data: Any, kernel: Sequence[int], shape: Sequence[int], steps: Sequence[Sequence[int]]
) -> Any:
    """[N, H, W, KH * KW * I], in the order of the kernel, of NHWC data.

    Args:
        kernel: [KH, KW, I].
        shape: of the result, [N, H, W, O].
        steps: strides and dilation.
    """
    n, height, columns, inputs = (int(d) for d in data.ty.shape)
    rows, run = kernel[0], kernel[1] * inputs
    (down, along), dilation = steps[0], steps[1][0]
    lines, outputs, size = shape[0] * shape[1], shape[2], rows * run

    def body(x: Any, out: Any) -> None:
        with independent(lines, lines * outputs * size) as line, serial(outputs) as column:
            image, y = line // whole(shape[1]), line % whole(shape[1])
            for row in range(rows):
                for begin, lanes in _pieces(run):
                    with T.vectorized(whole(0), whole(lanes)) as lane:
                        place = column * whole(along * inputs) + whole(begin) + lane
                        value = x[image, y * whole(down) + whole(row * dilation), place]
                        T.buffer_store(out, value, [line, column * whole(size) + whole(row * run + begin) + lane])

    flat = reshaped(builder, data, [n, height, columns * inputs])
    made = builder.call_te(
        lambda x: program([x], [[lines, outputs * size]], [str(x.dtype)], body, "patches"),
        flat,
        primfunc_name_hint="patches",
    )
    return reshaped(builder, made, [*shape[:3], size])


def _vectors(size: int) -> int:
    return -(-size // VECTOR)


def _pieces(run: int) -> Iterator[tuple[int, int]]:
    """Where vectors begin that cover a run, the last of them overlapping, and their lanes, a power of two."""
    lanes = min(VECTOR, 1 << (run.bit_length() - 1))
    for begin in range(0, run - lanes + 1, lanes):
        yield begin, lanes
    if rest := run % lanes:
        lanes = 1 << (rest - 1).bit_length()
        yield run - lanes, lanes
