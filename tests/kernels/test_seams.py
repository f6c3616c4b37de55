"""Where conditions change along an axis, and that between two such places they are decided."""

from __future__ import annotations

import operator
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from compiler.kernels.nest import Axis, Nest
from compiler.kernels.seams import seams, settle, undecided

COMPARISONS = {
    tirx.LT: operator.lt, tirx.LE: operator.le, tirx.GT: operator.gt,
    tirx.GE: operator.ge, tirx.EQ: operator.eq, tirx.NE: operator.ne,
}  # fmt: skip


def nest(comparison: Any, factor: int, step: int, rest: int, bound: int, taps: int) -> tuple[Nest, Axis]:
    """`1 if factor * i + step * k + rest ? bound else 0` for i from 0 to 39 and k below `taps`."""
    i, k = tirx.Var("i", "int64"), tirx.Var("k", "int64")
    buffer = tirx.decl_buffer((40,), "float32")
    left = i * factor + k * step + tirx.IntImm("int64", rest)
    condition = comparison(left, tirx.IntImm("int64", bound))
    value = tirx.if_then_else(condition, tirx.const(1.0, "float32"), tirx.const(0.0, "float32"))
    return Nest((Axis(i, 40),), tirx.BufferStore(buffer, value, [i])), Axis(k, taps)


@given(
    st.sampled_from(list(COMPARISONS)), st.sampled_from([-3, -2, -1, 1, 2, 3]), st.integers(-2, 2),
    st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 4),
)  # fmt: skip
def test_a_condition_changes_at_seams_only(
    comparison: Any, factor: int, step: int, rest: int, bound: int, taps: int
) -> None:
    made, reduced = nest(comparison, factor, step, rest, bound, taps)
    holds = COMPARISONS[comparison]

    def states(i: int) -> set[bool]:
        return {holds(factor * i + step * k + rest, bound) for k in range(taps)}

    found = seams(made, 0, [reduced])
    for i in range(1, 40):
        # Equality with a range of values is neither decided before nor after.
        exact = comparison not in (tirx.EQ, tirx.NE) or taps == 1 or step == 0
        assert not exact or states(i) == states(i - 1) or i in found


@given(st.sampled_from(list(COMPARISONS)), st.sampled_from([-2, -1, 1, 3]), st.integers(-30, 30), st.integers(-30, 30))
def test_between_seams_nothing_is_left_to_decide(comparison: Any, factor: int, rest: int, bound: int) -> None:
    made, _ = nest(comparison, factor, 0, rest, bound, 1)
    points = [0, *seams(made, 0), 40]
    for begin, end in pairwise(points):
        piece = settle(made.cut(0, begin, end))
        assert not undecided(piece, piece.axes[0].var)
        expected = COMPARISONS[comparison](factor * begin + rest, bound)
        assert piece.store.value.value == float(expected)
