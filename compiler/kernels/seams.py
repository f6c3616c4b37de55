"""Seams of a nest: where along an axis the conditions in its expressions change, as at the border of a padded
image or between the parts of a concatenation. Between two seams the conditions are decided, once for all points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tvm_ffi
from tvm import ir, sym, tirx

from .accesses import is_conditional
from .analysis import uses
from .nest import Axis, Nest, analyzer_of

_COMPARISONS = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)
_MOST = 64  # pieces of an axis


def settle(nest: Nest, reduced: Sequence[Axis] = ()) -> Nest:
    """The nest without the conditions that come out the same at all its points.

    Args:
        reduced: further axes that the store runs over at each point.
    """
    analyzer = analyzer_of([*nest.around, *nest.axes, *reduced])

    def decide(call: Any) -> Any:
        if not is_conditional(call):
            return call
        condition, then, otherwise = call.args
        if analyzer.can_prove(condition):
            return then
        return otherwise if analyzer.can_prove(tirx.Not(condition)) else call

    return replace(nest, store=tvm_ffi.structural_map(nest.store, [(ir.Call, decide)]))


def seams(nest: Nest, number: int, reduced: Sequence[Axis] = ()) -> list[int]:
    """The values of one axis at which a condition may change; empty if none does, or too many."""
    axis = nest.axes[number]
    found: set[int] = set()

    def on_comparison(node: Any) -> None:
        found.update(_changes(node, axis.var, reduced))

    def on_call(call: Any) -> None:
        if is_conditional(call):
            tvm_ffi.structural_walk(call.args[0], [(_COMPARISONS, on_comparison)])

    tvm_ffi.structural_walk(nest.store, [(ir.Call, on_call)])
    inside = sorted(value for value in found if axis.begin < value < axis.end)
    return inside if len(inside) < _MOST else []


def undecided(nest: Nest, var: Any) -> bool:
    """Whether a condition is left that depends on `var`."""
    hit = False

    def on_call(call: Any) -> None:
        nonlocal hit
        hit = hit or (is_conditional(call) and uses(call.args[0], var))

    tvm_ffi.structural_walk(nest.store, [(ir.Call, on_call)])
    return hit


def _changes(node: Any, var: Any, reduced: Sequence[Axis]) -> set[int]:
    """The values of `var` at which a comparison of a linear expression changes, for any value of `reduced`."""
    coefficients = sym.detect_linear_equation(node.a - node.b, [var])
    if len(coefficients) != 2 or not isinstance(coefficients[0], tirx.IntImm) or not uses(node, var):
        return set()
    factor = int(coefficients[0].value)
    bound = analyzer_of(reduced).const_int_bound(coefficients[1])
    if factor == 0 or max(abs(bound.min_value), abs(bound.max_value)) > 1 << 40:
        return set()
    rests = {int(bound.min_value), int(bound.max_value)}
    if isinstance(node, tirx.EQ | tirx.NE):
        return {-rest // factor + n for rest in rests if rest % factor == 0 for n in (0, 1)}
    # The first value at which factor * var + rest is no longer negative; or no longer zero, one further.
    reaches = isinstance(node, tirx.LT | tirx.GE) == (factor > 0)
    return {-(rest // factor) if reaches else -rest // factor + 1 for rest in rests}
