"""Histograms, and the ranges that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.quantize.ranges import Channels, Histogram, choose_range, scale_of
from compiler.quantize.settings import METHODS, Settings


def histogram(*parts: object) -> Histogram:
    made = Histogram()
    for part in parts:
        made.add(np.asarray(part, np.float32))
    return made


def normal(seed: int = 0, count: int = 50_000) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def test_counts_add_up_as_values_grow() -> None:
    made = histogram([0.1, -0.2, 0.0], [0.1 + 2**-20], [3000.0, -1e-30])
    assert made.counts.sum() == 5  # the zero is left out
    assert (made.low, made.high) == (np.float32(-0.2), 3000.0)
    assert made.counts[made.centres() > 2999].sum() == 1
    assert made.counts[np.abs(made.centres()) < 2.0**made.exponent].sum() == 4


def test_merging_is_counting_together() -> None:
    a, b = normal(0) * 0.01, normal(1) * 70
    both, merged = histogram(a, b), histogram(b).merge(histogram(a))
    assert (both.exponent, both.low, both.high) == (merged.exponent, merged.low, merged.high)
    assert np.array_equal(both.counts, merged.counts)


@pytest.mark.parametrize("method", METHODS)
def test_range_has_zero_within_and_stays_within_the_values(method: str) -> None:
    for values in (normal(), np.abs(normal()), -np.abs(normal()) - 1, normal() * 1e-20, np.float32([5.0])):
        low, high = choose_range([histogram(values)], Settings(method=method))
        assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)


def test_minmax_takes_everything_in() -> None:
    values = normal()
    assert choose_range([histogram(values), histogram([9.0])], Settings(method="minmax")) == (values.min(), 9.0)


def test_percentile_leaves_the_tails_out() -> None:
    values = np.linspace(-1, 3, 40_001, dtype=np.float32)
    low, high = choose_range([histogram(values)], Settings(method="percentile", percentile=99.0))
    assert low == pytest.approx(-0.96, abs=2e-3) and high == pytest.approx(2.96, abs=2e-3)


def test_entropy_clips_an_outlier() -> None:
    low, high = choose_range([histogram(normal(), [25.0])], Settings(method="entropy"))
    assert high < 15 and low < -2


def test_mse_is_about_the_best_of_all_ranges() -> None:
    values = np.random.default_rng(3).standard_t(3, size=60_000).astype(np.float32)

    def error(low: float, high: float) -> float:
        scale, zero = scale_of(low, high)
        steps = np.clip(np.rint(values / scale) + zero, 0, 255)
        return float(np.mean((values - (steps - zero) * scale) ** 2))

    found = error(*choose_range([histogram(values)], Settings(method="mse")))
    sizes = np.linspace(0.1, 1, 30)
    best = min(error(values.min() * a, values.max() * b) for a in sizes for b in sizes)
    assert found < 1.02 * best < 0.95 * error(values.min(), values.max())


def test_nothing_but_zeros() -> None:
    for method in METHODS:
        low, high = choose_range([histogram(np.zeros(5))], Settings(method=method))
        assert scale_of(low, high) == (1.0, 0)
    assert choose_range([], Settings()) == (0.0, 0.0)


@pytest.mark.parametrize("low, high, zero", [(0.0, 2.0, 0), (-1.0, 0.0, 255), (-1.0, 1.0, 127), (-0.28, 2.27, 28)])
def test_zero_is_met_exactly(low: float, high: float, zero: int) -> None:
    scale, found = scale_of(low, high)
    assert found == zero and scale == np.float32((high - low) / 255)


def test_channels_have_counts_of_their_own() -> None:
    rng = np.random.default_rng(5)
    sizes = np.float32([0.01, 1, 40])
    seen, feeds = Channels(3, 1), rng.standard_normal((6, 2, 3, 4, 5)).astype(np.float32) * sizes[:, None, None]
    for feed in feeds:
        seen.add(feed)
    rows = np.moveaxis(feeds, 2, 0).reshape(3, -1)
    assert np.allclose(seen.mean, rows.mean(1), atol=1e-5 * 40)
    assert np.allclose(seen.square, (rows.astype(float) ** 2).mean(1))
    assert np.array_equal(seen.high, np.float64(rows.max(1))) and np.array_equal(seen.low, np.float64(rows.min(1)))
    even = seen.scaled(sizes.astype(np.float64), np.ones(3))
    assert even.counts.sum() == rows.size
    spread = np.sqrt(np.sum(even.counts * even.centres() ** 2) / rows.size)
    assert spread == pytest.approx(np.std(rows / sizes[:, None]), rel=0.02)


def test_channels_of_halves_are_those_of_all() -> None:
    rng = np.random.default_rng(6)
    feeds = rng.standard_normal((6, 2, 3, 4, 5)).astype(np.float32) * np.float32([0.01, 1, 40]).reshape(3, 1, 1)
    feeds[3:] *= 9
    halves, whole = (Channels(3, 1), Channels(3, 1)), Channels(3, 1)
    for number, feed in enumerate(feeds):
        halves[number % 2].add(feed)
        whole.add(feed)
    for merged in (halves[0].merge(halves[1]), Channels(3, 1).merge(whole)):
        assert (merged.number, merged.counted) == (whole.number, whole.counted)
        for name in ("low", "high", "exponents", "counts"):
            assert np.array_equal(getattr(merged, name), getattr(whole, name))
        assert np.allclose(merged.mean, whole.mean) and np.allclose(merged.square, whole.square)
