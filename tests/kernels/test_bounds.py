"""What float32 values are at most: classes of arrays, and magnitudes of expressions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from compiler.kernels.bounds import class_of, largest, magnitude
from compiler.kernels.scalars import Fact


@pytest.mark.parametrize(
    "most, name", [(0.0, "small"), (0.25, "small"), (0.2501, "moderate"), (65536.0, "moderate"), (65537.0, "")]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_classes(most: float, name: str, sign: int) -> None:
    assert class_of(np.array([0.0, sign * most, 0.1], np.float32)[: 2 + (most > 0.1)]) == name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_class(value: float) -> None:
    assert class_of(np.array([1.0, value], np.float32)) == ""
    assert class_of(np.zeros(0, np.float32)) == "small"
    assert largest(["small", "moderate"]) == "moderate" and largest(["small", ""]) == ""


numbers = st.floats(-1e6, 1e6, width=32)


@given(numbers, numbers, st.integers(-(2**31), 2**31 - 1))
def test_magnitudes_are_not_exceeded(a: float, b: float, n: int) -> None:
    x, y, i = tirx.Var("x", "float32"), tirx.Var("y", "float32"), tirx.Var("i", "int32")
    bounds = {x: abs(a), y: abs(b)}
    real = tirx.Cast("float32", i)
    for expr, value in (
        (tirx.Add(x, y), a + b),
        (tirx.Sub(x, y), a - b),
        (tirx.Mul(tirx.Sub(y, real), x), (b - n) * a),
        (tirx.Max(tirx.Min(real, y), x), max(min(n, b), a)),
        (tirx.Broadcast(tirx.Add(x, tirx.FloatImm("float32", b)), 4), a + b),
    ):
        assert abs(value) <= magnitude(expr, bounds)
    for unknown in (tirx.Div(x, y), tirx.exp(x), tirx.Mul(x, tirx.Var("z", "float32"))):
        assert magnitude(unknown, bounds) == math.inf
    assert [magnitude(tirx.Cast("float32", tirx.Var("k", kind)), {}) for kind in ("uint8", "int8")] == [256.0, 128.0]


def test_numbers_have_the_bounds_of_their_facts() -> None:
    assert Fact.of([3.5, -16383.0]).most < math.inf and Fact.of([16384.0]).most == math.inf
