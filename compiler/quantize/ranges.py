"""Where the values of a tensor lie, and the range of them that 8 bits shall stand for.

Exact zeros, which every range can stand for, are left out of the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from .settings import Settings

Array = np.ndarray[Any, Any]
_T = TypeVar("_T")

HALF = 4096  # bins on either side of zero; values of at least half of them are met
STEPS = 255  # of 8 bits
FEW = 128  # bins on either side of zero, of a single channel
# Values of a feed, in a tensor and in one of its channels, of more of which about as many are counted.
MANY, MANY_OF_CHANNEL = 1 << 16, 1 << 10

_LEAST = -100  # exponent of a bin's width: what is smaller counts as one of the bins beside zero


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
        self.exponent = _LEAST
        self.low = self.high = 0.0

    def add(self, values: Array) -> None:
        """Counts more values, floats of any shape."""
        if not values.size:
            return
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        largest = max(-self.low, self.high, float(np.finfo(np.float32).tiny))
        exponent = int(np.ceil(np.log2(largest / HALF)))
        if exponent > self.exponent:
            self.counts, self.exponent = _coarser(self.counts, exponent - self.exponent), exponent
        values = some(values.reshape(1, -1), MANY)
        values = values[values != 0]
        places = np.floor(values * np.float32(2.0**-self.exponent)).astype(np.int32) + HALF
        self.counts += np.bincount(np.clip(places, 0, 2 * HALF - 1), minlength=2 * HALF)

    def merge(self, other: Histogram) -> Histogram:
        """The counts of both."""
        both = Histogram()
        both.low, both.high = min(self.low, other.low), max(self.high, other.high)
        both.exponent = max(self.exponent, other.exponent)
        first, second = (_coarser(one.counts, both.exponent - one.exponent) for one in (self, other))
        both.counts = first + second
        return both

    def centres(self) -> Array:
        """[2 * HALF] float64, the value in the middle of each bin."""
        return np.asarray(np.ldexp(np.arange(-HALF, HALF) + 0.5, self.exponent))


class Channels:
    """As a histogram, but coarser, and one for each channel of a tensor.

    Attributes:
        axis: that the channels lie along.
        counts: [channels, 2 * FEW] int64; exponents: [channels].
        low, high: [channels], the least and greatest value, and zero.
        mean, square: [channels], the mean of the values and of their squares.
        number: values in each channel; counted: how many of them, zeros too, are in the counts.
    """

    def __init__(self, channels: int, axis: int) -> None:
        self.axis = axis
        self.counts: Array = np.zeros((channels, 2 * FEW), np.int64)
        self.exponents: Array = np.full(channels, _LEAST)
        self.low, self.high, self.mean, self.square = (np.zeros(channels) for _ in range(4))
        self.number = self.counted = 0

    def add(self, values: Array) -> None:
        """Counts more values, floats with the channels along the axis."""
        rows = np.moveaxis(values, self.axis, 0).reshape(len(self.low), -1)
        if not rows.size:
            return
        self.low, self.high = np.minimum(self.low, rows.min(1)), np.maximum(self.high, rows.max(1))
        share = rows.shape[1] / (self.number + rows.shape[1])
        self.number += rows.shape[1]
        self.mean += share * (rows.mean(1) - self.mean)
        largest = np.maximum(np.maximum(-self.low, self.high), np.finfo(np.float32).tiny)
        exponents = np.maximum(np.ceil(np.log2(largest / FEW)).astype(int), self.exponents)
        for row in np.flatnonzero(exponents > self.exponents):
            self.counts[row] = _coarser(self.counts[row], exponents[row] - self.exponents[row])
        self.exponents = exponents
        rows = some(rows, MANY_OF_CHANNEL)
        self.counted += rows.shape[1]
        self.square += share * (np.square(rows, dtype=np.float64).mean(1) - self.square)
        places = np.floor(rows * np.exp2(-exponents[:, None]).astype(np.float32)).astype(np.int32) + FEW
        places = np.clip(places, 0, 2 * FEW - 1) + 2 * FEW * np.arange(len(rows))[:, None]
        self.counts += np.bincount(places.ravel(), minlength=self.counts.size).reshape(self.counts.shape)
        self.counts[:, FEW] -= (rows == 0).sum(1)

    def merge(self, other: Channels) -> Channels:
        """What both have seen, of the same channels."""
        both = Channels(len(self.low), self.axis)
        both.low, both.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        both.number, both.counted = self.number + other.number, self.counted + other.counted
        share = other.number / max(both.number, 1)
        both.mean, both.square = (
            a + share * (b - a) for a, b in ((self.mean, other.mean), (self.square, other.square))
        )
        both.exponents = np.maximum(self.exponents, other.exponents)
        for one in (self, other):
            for row, doublings in enumerate(both.exponents - one.exponents):
                both.counts[row] += _coarser(one.counts[row], doublings)
        return both

    def noise(self, factors: Array, low: float, high: float) -> Array:
        """[channels], the mean square of what clipping to a range and rounding to its steps change, the range being
        that of the values divided by factors [channels]."""
        centres = np.ldexp(np.arange(-FEW, FEW) + 0.5, self.exponents[:, None])
        ends = np.asarray(factors)[:, None] * [[low, high]]
        beyond = np.maximum(centres - ends[:, 1:], 0) + np.maximum(ends[:, :1] - centres, 0)
        rounded = ((high - low) / STEPS * factors) ** 2 / 12 * self.counts.sum(1)
        return np.asarray((np.sum(self.counts * beyond**2, axis=1) + rounded) / max(self.counted, 1))

    def scaled(self, factors: Array, weights: Array) -> Histogram:
        """The histogram of the values divided by a factor [channels], each counted with a weight [channels]."""
        centres = np.ldexp(np.arange(-FEW, FEW) + 0.5, self.exponents[:, None]) / factors[:, None]
        made = Histogram()
        made.low, made.high = float((self.low / factors).min()), float((self.high / factors).max())
        made.exponent = int(np.ceil(np.log2(max(-made.low, made.high, np.finfo(np.float32).tiny) / HALF)))
        places = np.clip(np.floor(np.ldexp(centres, -made.exponent)).astype(int) + HALF, 0, 2 * HALF - 1)
        made.counts = np.bincount(places.ravel(), (self.counts * weights[:, None]).ravel(), 2 * HALF)
        return made


@dataclass
class Statistics:
    """What sample data showed of a model's tensors.

    Attributes:
        histograms: by tensor.
        channels: by tensor of two or more dimensions.
        halves: the same of every other feed, the first one's values divided among both; for what shall hold of other
            data too.
        samples: how many feeds were run.
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    channels: dict[str, Channels] = field(default_factory=dict)
    halves: dict[str, tuple[Channels, Channels]] = field(default_factory=dict)
    samples: int = 0
    _memory: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def remembered(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """What follows from the statistics alone, computed once; models are quantised again and again."""
        if key not in self._memory:
            self._memory[key] = compute()
        found: _T = self._memory[key]
        return found

    def has_channels(self, name: str, axis: int) -> bool:
        """Whether a tensor's channels were seen along this axis."""
        return name in self.channels and self.channels[name].axis == axis


def choose_range(histograms: Iterable[Histogram], settings: Settings) -> tuple[float, float]:
    """The least and greatest value that 8 bits shall stand for, with zero between them, of tensors that share it.

    Methods: `minmax` takes all values in; `percentile` leaves as many out at either end as the settings say; `mse` has
    the least mean square of what clipping and rounding change; `entropy` loses the least information about how the
    values are distributed, as the Kullback-Leibler divergence measures it.
    """
    total = Histogram()
    for one in histograms:
        total = total.merge(one)
    if not total.counts.any():
        return total.low, total.high
    return _METHODS[settings.method](total, settings)


def scale_of(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of uint8 for a range around zero; zero is met exactly."""
    scale = np.float32((high - low) / STEPS)
    if not scale > np.finfo(np.float32).tiny:
        return np.float32(1), np.uint8(0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, STEPS))


def _all(total: Histogram, _settings: Settings) -> tuple[float, float]:
    return total.low, total.high


def _percentile(total: Histogram, settings: Settings) -> tuple[float, float]:
    left = (100 - settings.percentile) / 100
    shares = np.cumsum(total.counts) / total.counts.sum()
    edges = np.ldexp(np.arange(-HALF, HALF + 1), total.exponent)
    low = edges[int(np.searchsorted(shares, left, "right"))]
    high = edges[min(int(np.searchsorted(shares, 1 - left)), 2 * HALF - 1) + 1]
    return max(min(low, 0.0), total.low), min(max(high, 0.0), total.high)


# Shares of the least and of the greatest value, of which every pair is tried.
_SHARES = np.linspace(1, 0.2, 81)


def _mean_square(total: Histogram, _settings: Settings) -> tuple[float, float]:
    low, high = np.meshgrid(total.low * _SHARES, total.high * _SHARES, indexing="ij")
    counts, centres = total.counts.astype(np.float64), total.centres()
    # sums over all bins before each, from which those beyond a limit follow
    sums = [np.concatenate([[0], np.cumsum(counts * centres**power)]) for power in range(3)]

    def beyond(limit: Array, above: bool) -> Array:
        place = np.clip(np.rint(np.ldexp(limit, -total.exponent)).astype(int) + HALF, 0, 2 * HALF)
        n, first, second = (one[-1] - one[place] if above else one[place] for one in sums)
        return np.asarray(np.maximum(second - 2 * limit * first + limit**2 * n, 0))

    clipped = beyond(low, above=False) + beyond(high, above=True)
    inside = counts.sum() * ((high - low) / STEPS) ** 2 / 12
    best = np.unravel_index(np.argmin(clipped + inside), low.shape)
    return float(low[best]), float(high[best])


def _divergence(total: Histogram, _settings: Settings) -> tuple[float, float]:
    """As TensorRT's calibrator does (Migacz, "8-bit inference with TensorRT", 2017), for ranges of either sign: one
    limit clips both ends."""
    limits = max(-total.low, total.high) * _SHARES
    ranges = [(max(total.low, -limit), min(total.high, limit)) for limit in limits.tolist()]
    losses = [_lost(total, low, high) for low, high in ranges]
    return ranges[int(np.argmin(losses))]


def _lost(total: Histogram, low: float, high: float) -> float:
    """The divergence of the values after clipping and rounding to a range from those before."""
    first, last = (int(np.floor(np.ldexp(limit, -total.exponent))) + HALF for limit in (low, high))
    first, last = max(first, 0), min(last, 2 * HALF - 1)
    inside = total.counts[first : last + 1].astype(np.float64)
    clipped = inside.copy()
    clipped[0] += total.counts[:first].sum()
    clipped[-1] += total.counts[last + 1 :].sum()
    # each step's count is spread over those of its bins that hold any value
    steps = (np.arange(len(inside)) * (STEPS + 1)) // len(inside)
    held = inside > 0
    sums, bins = (np.bincount(steps, weights, STEPS + 1) for weights in (inside, held.astype(np.float64)))
    rounded = np.where(held, sums[steps] / np.maximum(bins[steps], 1), 0)
    p, q = clipped / clipped.sum(), rounded / max(rounded.sum(), 1)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-9))))


_METHODS: Mapping[str, Callable[[Histogram, Settings], tuple[float, float]]] = {
    "minmax": _all,
    "percentile": _percentile,
    "entropy": _divergence,
    "mse": _mean_square,
}


def some(rows: Array, many: int) -> Array:
    """About `many` of each row's values, at even distances that no even width is a multiple of."""
    return rows[:, :: max(1, rows.shape[1] // many) | 1]


def _coarser(counts: Array, doublings: int) -> Array:
    """Counts in bins that are 2**doublings as wide."""
    if doublings <= 0:
        return counts
    result = np.zeros_like(counts)
    half = len(counts) // 2
    np.add.at(result, ((np.arange(2 * half) - half) >> min(int(doublings), 62)) + half, counts)
    return result
