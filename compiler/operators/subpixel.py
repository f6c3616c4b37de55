"""Transposed convolutions as plain ones whose channels are the places of blocks.

With a stride of s, the results [s·m, s·m + s) all come from the same few elements before m: a plain convolution with s
times as many channels makes them, and its results are rearranged to rows. No zeros are put between elements, so that
nothing is multiplied by zero but where the kernel is no multiple of the stride. Shi et al., "Is the deconvolution layer
the same as a convolutional layer?", 2016 (arXiv:1609.07009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_MOST_PLACES = 16  # of a block, with a convolution each


@dataclass(frozen=True)
class Along:
    """One spatial axis of it.

    Attributes:
        block: results that one place of the plain convolution makes; the stride.
        taps, dilation: of the plain convolution.
        before, after: its margins.
        cut: results of the blocks before the first that is wanted.
        results: that are wanted.
        blocks: how many the plain convolution makes.
    """

    block: int
    taps: int
    dilation: int
    before: int
    after: int
    cut: int
    results: int
    blocks: int

    @classmethod
    def of(cls, size: int, kernel: int, stride: int, dilation: int, begin: int, results: int) -> Along:
        """For `size` elements.

        Args:
            begin: of what is wanted, in all that the kernel reaches; it may lie before that, and the end behind it.
            results: how many are wanted.
        """
        taps, inner = (kernel, dilation) if stride == 1 else (math.ceil(((kernel - 1) * dilation + 1) / stride), 1)
        margin = (taps - 1) * inner
        before = max(margin - begin // stride, 0)
        after = max(-(-(begin + results) // stride) - size, 0)
        cut = begin - stride * (margin - before)
        return cls(stride, taps, inner, before, after, cut, results, size + before + after - margin)


@dataclass(frozen=True)
class Subpixel:
    """All axes of it.

    Attributes:
        weight: [inputs, outputs / groups, *kernel], the shape of the transposed convolution's weights.
        along: the spatial axes.
        dilations: of the transposed convolution.
    """

    weight: tuple[int, ...]
    groups: int
    along: tuple[Along, ...]
    dilations: tuple[int, ...]

    @cached_property
    def channels(self) -> Array:
        """The transposed convolution's channel that each of the plain one's belongs to."""
        by_group = np.arange(self.groups * self.weight[1]).reshape(self.groups, 1, -1)
        return np.tile(by_group, (1, math.prod(axis.block for axis in self.along), 1)).reshape(-1)

    @cached_property
    def weight_places(self) -> list[Array]:
        """Where the weights [outputs, inputs / groups, *taps] of the plain convolutions are; -1 for a zero.

        There is one convolution, or one for each place of a block where each channel has a result of its own: for
        convolutions with as many results as channels there are kernels.
        """
        inputs, outputs, *kernel = self.weight
        found = np.arange(math.prod(self.weight)).reshape(self.weight)
        for place, (size, axis, dilation) in enumerate(zip(kernel, self.along, self.dilations, strict=True), 2):
            step = dilation if axis.block > 1 else 1
            longer = np.full([*found.shape[:place], axis.taps * axis.block, *found.shape[place + 1 :]], -1)
            longer[(slice(None),) * place + (slice(0, (size - 1) * step + 1, step),)] = found
            found = longer
        parts = [part for axis in self.along for part in (axis.taps, axis.block)]
        rank = len(self.along)
        taps, blocks = (range(3 + first, 3 + 2 * rank, 2) for first in (0, 1))
        found = found.reshape(self.groups, inputs // self.groups, outputs, *parts)
        found = np.flip(found, tuple(taps)).transpose(0, *blocks, 2, 1, *taps)
        shape = inputs // self.groups, *(axis.taps for axis in self.along)
        count = math.prod(axis.block for axis in self.along)
        if self.groups > 1 and self.weight[:2] == (self.groups, 1) and count <= _MOST_PLACES:
            return [one.reshape(-1, *shape) for one in np.moveaxis(found.reshape(self.groups, count, *shape), 1, 0)]
        return [found.reshape(-1, *shape)]

    @property
    def rearranges(self) -> bool:
        """Whether blocks are of more than one result."""
        return any(axis.block > 1 for axis in self.along)

    @property
    def parts(self) -> list[int]:
        """What the plain convolution's results [batch, channels, *blocks] are reshaped to behind the batch."""
        return [self.groups, *(a.block for a in self.along), self.weight[1], *(a.blocks for a in self.along)]

    @property
    def order(self) -> list[int]:
        """The axes of these, with the batch, as they are transposed then."""
        rank = len(self.along)
        return [0, 1, 2 + rank, *(axis for i in range(rank) for axis in (3 + rank + i, 2 + i))]

    @property
    def whole(self) -> list[int]:
        """What they are reshaped to then, behind the batch."""
        return [self.groups * self.weight[1], *(axis.block * axis.blocks for axis in self.along)]

    @property
    def cuts(self) -> list[tuple[int, int, int]]:
        """The spatial axes of which not all is wanted, with begin and end of what is."""
        ends = [(axis.cut, axis.cut + axis.results, axis.block * axis.blocks) for axis in self.along]
        return [(2 + i, begin, end) for i, (begin, end, size) in enumerate(ends) if (begin, end) != (0, size)]
