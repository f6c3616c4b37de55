"""How small weights are for sums of 16 bits, beside sums that are computed."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.kernels.limits import limits_of
from compiler.kernels.weight_limit import RUN, WeightLimit, in_fours, in_runs
from compiler.passes.depthwise_runs import taps_of_run
from compiler.passes.partial_products import fits_16_bits
from compiler.target import load_target
from tests.kernels.cases_integer import at_the_limit

RNG = np.random.default_rng(11)


def limit_of(target: str) -> WeightLimit | None:
    return limits_of(load_target(target)).weights


@pytest.mark.parametrize(
    ("target", "limited"),
    [
        *(("x86-64-v2", True), ("x86-64-v3", True), ("intel-n100", False), ("raspberry-pi-4", True)),
        *(("raspberry-pi-5", False), ("generic-armv7", True), ("generic-riscv64", False)),
    ],
)
def test_targets_without_dot_products_have_a_limit(target: str, limited: bool) -> None:
    assert (limit_of(target) is not None) == limited


def test_sums_of_two_products_fit_16_bits_as_far_as_the_limit_says() -> None:
    limit = limit_of("x86-64-v3")
    assert limit is not None
    weight = RNG.integers(-90, 91, (3, 6, 200)).astype(np.int8)
    pairs = 255 * weight.astype(int).reshape(3, 3, 2, 200)
    low, high = np.minimum(pairs, 0).sum(2).min((0, 1)), np.maximum(pairs, 0).sum(2).max((0, 1))
    fits = (low >= -(1 << 15)) & (high < 1 << 15)
    assert fits.any() and not fits.all()
    np.testing.assert_array_equal(limit.factors(weight) <= 1, fits)


def test_an_odd_channel_has_no_neighbour() -> None:
    limit = limit_of("x86-64-v3")
    assert limit is not None
    assert limit.factors(np.array([[100], [28], [127]], np.int8)) == 1
    assert limit.factors(np.array([[100], [29], [127]], np.int8)) > 1


def test_arm_takes_any_four_products() -> None:
    limit = limit_of("raspberry-pi-4")
    assert limit is not None
    assert limit.factors(np.full((32, 1), -63, np.int8)) < 1
    assert limit.factors(np.full((32, 1), 64, np.int8)) > 1
    assert 4 * 128 * 63 < 1 << 15
    assert limit.factors_of_filters(np.full((3, 3, 2), 85, np.int8)).max() == 1


@pytest.mark.parametrize("kernel", [3, 5])
def test_filters_at_the_limit_are_summed_by_runs(kernel: int) -> None:
    limit = limit_of("x86-64-v3")
    assert limit is not None
    weight = np.moveaxis(at_the_limit("here", 40, kernel)[:, 0], 0, -1)
    assert limit.factors_of_filters(weight).max() == 1
    assert taps_of_run(weight) == RUN
    weight[0, 0] += np.sign(weight[0, 0]) + (weight[0, 0] == 0)
    assert limit.factors_of_filters(weight).max() > 1
    assert taps_of_run(weight) < RUN


def test_runs_are_as_long_as_the_weights_allow() -> None:
    ones = np.ones((3, 3, 8), np.int8)
    assert [taps_of_run(ones * value) for value in (28, 51, 85, 127, -128)] == [9, RUN, 3, 2, 1]


def test_rows_of_few_channels_are_filled_up() -> None:
    weight = RNG.integers(-9, 9, (2, 3, 3, 5)).astype(np.int8)
    runs = in_runs(weight, 4)
    assert runs.shape == (2, 1, 12, 5)
    np.testing.assert_array_equal(runs[:, 0, :9].reshape(weight.shape), weight)
    assert not runs[:, 0, 9:].any()


@pytest.mark.parametrize("shape", [(40, 60), (3, 3, 24, 60), (3, 3, 7, 60)])
def test_four_products_fit_16_bits_as_far_as_their_magnitudes_say(shape: tuple[int, ...]) -> None:
    limit = limit_of("raspberry-pi-4")
    assert limit is not None
    weight = RNG.integers(-100, 101, shape).astype(np.int8)
    fits = np.array([fits_16_bits(in_fours(weight[..., [at]])) for at in range(60)])
    assert (fits | (limit.factors(weight) > 1)).all()
    halved = (weight / np.maximum(limit.factors(weight), 1)).astype(np.int8)
    assert limit.factors(halved).max() <= 1
    assert fits_16_bits(in_fours(halved))


def test_two_products_of_a_sum_of_one_vector_always_fit() -> None:
    limit = limit_of("raspberry-pi-4")
    assert limit is not None
    assert limit.factors(np.full((16, 5), 127, np.int8)).max() < 1
    assert limit.factors(np.full((17, 5), 127, np.int8)).max() > 1
