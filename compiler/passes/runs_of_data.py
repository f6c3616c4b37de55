"""Data of products and convolutions as runs of elements that lie side by side, which vectors along the sum take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, tirx

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Runs:
    """How the data of a product lie.

    Attributes:
        data: [..., I]; of a convolution [N, H, W, I], or [N, H, W * I] if a row of the kernel is one run.
        weight: [*kernel, I, O], with the kernel's columns in I where a row is one run.
        vector: elements of a vector, of which the last begins early where vectors do not divide a run.
        length: elements of a run, at least one vector.
    """

    data: Any
    weight: Array
    vector: int
    length: int
    strides: list[int]
    dilation: list[int]
    flat: bool

    @property
    def kernel(self) -> list[int]:
        return list(self.weight.shape[:-2])

    @property
    def steps(self) -> int:
        """Vectors of a run."""
        return -(-self.length // self.vector)

    def element(self, x: Any, at: list[Any], window: Any, step: Any, place: Any) -> Any:
        """An element of a vector.

        Args:
            x: the data as a tensor.
            at: place of the result, without its channel.
            window: place in the kernel.
            step: number of the vector; place: in it.
        """
        here = tirx.min(step * self.vector, self.length - self.vector) + place
        if not self.kernel:
            return x(*at, here)
        n, row, column = at
        row = row * self.strides[0] + window[0] * self.dilation[0]
        column = column * self.strides[1]
        return x(n, row, column + here) if self.flat else x(n, row, column + window[1] * self.dilation[1], here)


def runs_of(
    builder: relax.BlockBuilder, data: Any, weight: Array, vector: int, strides: list[int], dilation: list[int]
) -> Runs:
    """Data of [..., I] for weights [I, O], or of NHWC for [KH, KW, I, O], with zeros behind if a run is too short."""
    *kernel, inputs, channels = weight.shape
    flat = bool(kernel) and dilation[1] == 1
    if flat:
        n, height, columns, _inputs = (int(d) for d in data.ty.shape)
        data = builder.emit(relax.op.reshape(data, [n, height, columns * inputs]))
        strides = [strides[0], strides[1] * inputs]
        weight = weight.reshape(kernel[0], 1, kernel[1] * inputs, channels)
    length = weight.shape[-2]
    if length < vector:
        data = builder.emit(relax.op.nn.pad(data, [0] * (2 * len(data.ty.shape) - 1) + [vector - length]))
    return Runs(data, weight, vector, max(length, vector), strides, dilation, flat)
