"""How small 8-bit weights are for sums of products to fit 16 bits, where no instruction sums products in 32.

Vectors of 16 bits hold twice the elements of those of 32, so that weights which leave the sums room are worth some of
their precision. Quantisation makes such weights, and kernels look at those that they get: both ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WORD = 4  # bytes that a dot product takes at once
RUN = 5  # taps of a filter that are summed in 16 bits
VECTOR = 16  # bytes of a vector of NEON, of which two and their halves make sums of four products
# Sums of products with weights of which the magnitudes add up to so much take less than 2^16 values, of any 8-bit data.
MOST_OF_MAGNITUDES = 255


@dataclass(frozen=True)
class WeightLimit:
    """What weights keep to, so that a target's fast kernels take them.

    Attributes:
        neighbours: weights along a sum whose products with data are added in 16 bits; 0 for those in one place of two
            vectors and of their halves.
        most: the sum of the magnitudes of those of them that have one sign, or in vectors of all.
        runs: taps of filters for a single channel each that are summed in 16 bits, if that needs a limit.
    """

    neighbours: int
    most: int
    runs: int = 0

    def factors(self, weight: Array) -> Array:
        """How many times the weights [..., I, O] of products are what they may be at most, [O]."""
        if not self.neighbours:
            magnitudes = np.abs(_wide(in_fours(weight))).sum(axis=-2).reshape(-1, weight.shape[-1])
            return np.asarray(magnitudes.max(axis=0, initial=0) / self.most)
        return np.asarray(_largest_of_one_sign(_in_groups(weight, self.neighbours)) / self.most)

    def factors_of_filters(self, weight: Array) -> Array:
        """The same for filters of one channel each, [KH, KW, C] → [C]."""
        if not self.runs:
            return np.zeros(weight.shape[-1])
        return np.asarray(np.abs(runs_of_taps(weight, self.runs)).sum(axis=1).max(axis=0) / MOST_OF_MAGNITUDES)


def has_few_channels(channels: int, columns: int, dilation: int) -> bool:
    """Whether words of 8-bit data are taken along a row of a kernel, across its channels, so that fewer are half empty.

    Args:
        channels: of the data.
        columns: of the kernel.
        dilation: along a row.
    """
    return channels < WORD and columns > 1 and dilation == 1


def in_runs(weight: Array, step: int) -> Array:
    """[KH, KW, I, O] → [KH, 1, KW * I, O], filled up with zeros to whole steps."""
    runs = weight.reshape(len(weight), 1, -1, weight.shape[3])
    return np.pad(runs, [(0, 0), (0, 0), (0, -runs.shape[2] % step), (0, 0)])


def runs_of_taps(weight: Array, taps: int) -> Array:
    """[KH, KW, C] → [runs, taps, C], the last filled up with zeros."""
    return _in_groups(_wide(weight).reshape(-1, weight.shape[-1]), taps)


def in_vectors(weight: Array, size: int = VECTOR) -> Array:
    """[..., I, O] → [..., vectors, size, O].

    Where vectors do not divide I, the last one begins early, with zeros for the weights of what the one before it took.
    """
    *kernel, inputs, channels = weight.shape
    run = max(inputs, size)
    made = np.zeros((*kernel, -(-run // size), size, channels), weight.dtype)
    taken = 0
    for vector in range(made.shape[-3]):
        begin = min(vector * size, run - size)
        count = max(min(inputs, begin + size) - taken, 0)
        made[..., vector, taken - begin : taken - begin + count, :] = weight[..., taken : taken + count, :]
        taken += count
    return made


def in_fours(weight: Array) -> Array:
    """[..., I, O] → [..., pairs of vectors, 8, 4, O]: what is multiplied in one place of two vectors' halves."""
    vectors = in_vectors(weight)
    *kernel, count, _bytes, channels = vectors.shape
    filled = np.pad(vectors, [*[(0, 0)] * len(kernel), (0, count % 2), (0, 0), (0, 0)])
    return np.swapaxes(filled.reshape(*kernel, -1, 4, VECTOR // 2, channels), -3, -2)


def _in_groups(weight: Array, size: int) -> Array:
    """[..., I, O] → [..., I / size, size, O], filled up with zeros."""
    *outer, inputs, outputs = weight.shape
    filled = np.pad(weight, [*[(0, 0)] * len(outer), (0, -inputs % size), (0, 0)])
    return filled.reshape(*outer, -1, size, outputs)


def _largest_of_one_sign(groups: Array) -> Array:
    """[..., group, O] → [O]: the greatest sum of the magnitudes of weights of one sign in a group."""
    wide = _wide(groups)
    sums = np.maximum(np.maximum(wide, 0).sum(axis=-2), np.maximum(-wide, 0).sum(axis=-2))
    return np.asarray(sums.reshape(-1, groups.shape[-1]).max(axis=0, initial=0))


def _wide(weight: Array) -> Array:
    return weight.astype(np.int32) if weight.dtype == np.int8 else weight
