"""Comparing results with a reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.verify.compare import Difference, compare, over_runs

ONE = np.array([1.0, -2.0, 4.0], np.float32)


def only(result: object, expected: object) -> Difference:
    return compare({"y": result}, {"y": expected})[0]  # type: ignore[dict-item]


def test_equal_arrays_pass() -> None:
    assert only(ONE, ONE.copy())


def test_the_error_is_relative_to_the_largest_value() -> None:
    difference = compare({"y": ONE + np.float32(0.002)}, {"y": ONE})[0]
    assert difference
    assert difference.error == pytest.approx(0.0005, rel=1e-3)
    assert not only(ONE + np.float32(0.01), ONE)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "missing"),
        (ONE[:2], "float32[2]"),
        (ONE.astype(np.float64), "float64"),
        (np.array([1, np.nan, 4], np.float32), "NaN"),
        (np.array([1, np.inf, 4], np.float32), "infinities"),
    ],
)
def test_what_is_wrong_is_named(result: object, words: str) -> None:
    difference = only(result, ONE)
    assert not difference
    assert words in str(difference)


def test_infinities_and_nans_in_the_same_places_pass() -> None:
    odd = np.array([np.inf, -np.inf, np.nan, 3], np.float32)
    assert only(odd, odd.copy())
    assert not only(-odd, odd)


def test_integers_have_to_be_equal() -> None:
    whole = np.arange(4)
    assert only(whole, whole)
    wrong = only(whole + np.array([0, 0, 0, 1]), whole)
    assert not wrong and wrong.equal == 0.75 and str(wrong) == "y: 75.00% equal DIFFERS"


def test_empty_and_scalar_arrays() -> None:
    assert only(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))
    assert only(np.float32(3) + np.zeros(()), np.float32(3) + np.zeros(()))


def test_bfloat16_is_compared_by_value() -> None:
    bits = np.array([0x3F80, 0x4000], np.uint16)  # 1.0, 2.0
    close = compare({"y": bits + np.array([1, 0], np.uint16)}, {"y": bits}, frozenset({"y"}))[0]
    assert close
    assert 0 < close.error < 0.01


def test_from_a_ratio_of_signal_to_noise_on_8_bits_pass() -> None:
    reference = np.ones(1000, np.float32)
    few = reference.copy()
    few[:5] = 0.7
    [found] = compare({"y": few}, {"y": reference}, precision="int8")
    assert found.snr == pytest.approx(33.5, abs=0.1)
    assert not found and not replace(found, least_snr=34.0) and replace(found, least_snr=33.0)
    assert "33.5 dB (at least 34.0)" in str(replace(found, least_snr=34.0))


def test_several_runs_are_one_difference() -> None:
    small, large = Difference("y", 1e-5, 1e-3), Difference("y", 1e-4, 1e-3)
    assert over_runs([small, large, small]) is large
    wrong = Difference("y", float("inf"), 1e-3, "the output is missing")
    assert over_runs([small, wrong, large]) is wrong
    # What fails counts more than a larger error that passes for its ratio of signal to noise.
    outlier, broken = (Difference("y", error, 0.1, snr=snr, least_snr=20.0) for error, snr in ((0.5, 30.0), (0.3, 5.0)))
    assert over_runs([outlier, broken]) is broken
    labels = over_runs([Difference("y", 0.5, 0.0, equal=0.5), Difference("y", 0.0, 0.0, equal=1.0)])
    assert labels.equal == 0.75 and labels.error == 0.25


def test_single_elements_of_quantised_models_may_be_a_step_off() -> None:
    expected = np.arange(5000, dtype=np.int64).astype(np.uint8) % 200
    for count, steps, passes in (
        (2, 1, True),
        (45, 1, True),
        (60, 1, False),
        (5000, 1, False),
        (4, 2, True),
        (8, 2, False),
    ):
        result = expected.copy()
        result[:count] += np.uint8(steps)
        [found] = compare({"y": result}, {"y": expected}, precision="int8")
        assert bool(found) == passes, (count, steps)
    assert not compare({"y": expected + np.uint8(1)}, {"y": expected})[0]
    labels = expected.astype(np.int64)
    assert not compare({"y": labels + 1}, {"y": labels}, precision="int8")[0]
    assert not compare({"y": ONE * np.float32(1.02)}, {"y": ONE}, precision="int8")[0]
