"""Where the values of a tensor lie, and the range of them that 8 bits shall stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

HALF = 4096  # bins on either side of zero; values of at least half of them are met


class Histogram:
    """Counts of values in bins of equal width around zero, which doubles whenever a value lies beyond the last bin.

    Widths are powers of two, so that counts of two histograms can be added without loss.

    Attributes:
        counts: [2 * HALF] int64; bin HALF begins at zero.
        exponent: a bin is 2**exponent wide.
        low, high: the least and greatest value, and zero.
    """

    def __init__(self) -> None:
        self.counts: Array = np.zeros(2 * HALF, np.int64)
        self.exponent = -149  # of the least float32
        self.low = self.high = 0.0

    def add(self, values: Array) -> None:
        """Counts more values, floats of any shape."""
        if not values.size:
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self._cover(max(-self.low, self.high))
        scaled = values.ravel() * np.float32(2.0**-self.exponent)
        places = np.clip(np.floor(scaled).astype(np.int32) + HALF, 0, 2 * HALF - 1)
        self.counts += np.bincount(places, minlength=2 * HALF)

    def merge(self, other: Histogram) -> Histogram:
        """The counts of both."""
        merged = Histogram()
        merged.low, merged.high = min(self.low, other.low), max(self.high, other.high)
        merged.exponent = max(self.exponent, other.exponent)
        for one in (self, other):
            merged.counts += _coarser(one.counts, merged.exponent - one.exponent)
        return merged

    def _cover(self, size: float) -> None:
        exponent = max(self.exponent, int(np.ceil(np.log2(size / HALF)))) if size > 0 else self.exponent
        if exponent > self.exponent:
            self.counts = _coarser(self.counts, exponent - self.exponent)
            self.exponent = exponent


@dataclass
class Statistics:
    """What sample data showed of a model's tensors.

    Attributes:
        histograms: by tensor.
        means: the mean of each channel (axis 1, of matrices the last), by tensor that a product reads.
        samples: how many feeds were run.
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    means: dict[str, Array] = field(default_factory=dict)
    samples: int = 0


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """The counts of several tensors that share a range."""
    total = Histogram()
    for one in histograms:
        total = total.merge(one)
    return total


def _coarser(counts: Array, doublings: int) -> Array:
    """Counts in bins that are 2**doublings as wide."""
    if doublings <= 0:
        return counts
    result = np.zeros_like(counts)
    places = (np.arange(len(counts)) - HALF) >> min(doublings, 62)
    np.add.at(result, places + HALF, counts)
    return result
