"""Comparing results with a reference."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.verify.compare import Difference, compare

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
