"""Expressions of indices as plain Python data, for counting: which variables they use, their values and ranges."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import ir, tirx

_OPERATIONS: dict[Any, Callable[[int, int], int]] = {
    tirx.Add: operator.add,
    tirx.Sub: operator.sub,
    tirx.Mul: operator.mul,
    tirx.FloorDiv: operator.floordiv,
    tirx.FloorMod: operator.mod,
    tirx.Max: max,
    tirx.Min: min,
}


@dataclass(frozen=True)
class Axis:
    """The values low … high of a variable or of an index, of which `count` occur."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Index:
    """A constant, a variable, or an operation on two others; else something that depends on data.

    Attributes:
        value: of a constant.
        variable: identity of a variable, its hash.
        operation: of `operands`. What depends on data has operands only.
    """

    value: int | None = None
    variable: int | None = None
    operation: Any = None
    operands: tuple[Index, ...] = ()

    @staticmethod
    def of(expr: Any) -> Index:
        if isinstance(expr, tirx.IntImm):
            return Index(value=int(expr.value))
        if isinstance(expr, ir.Var):
            return Index(variable=hash(expr))
        if isinstance(expr, tirx.Cast):
            return Index.of(expr.value)
        if type(expr) in _OPERATIONS:
            return Index(operation=type(expr), operands=(Index.of(expr.a), Index.of(expr.b)))
        if isinstance(expr, ir.TensorLoad):
            return Index(operands=tuple(map(Index.of, expr.indices)))
        if isinstance(expr, tirx.Select):
            return Index(operands=tuple(map(Index.of, (expr.condition, expr.true_value, expr.false_value))))
        if isinstance(expr, ir.Call):
            return Index(operands=tuple(map(Index.of, expr.args)))
        parts = (getattr(expr, name) for name in ("a", "b") if hasattr(expr, name))
        return Index(operands=tuple(map(Index.of, parts)))

    def variables(self) -> Iterator[int]:
        """The variables that it uses, those repeatedly that it uses repeatedly."""
        if self.variable is not None:
            yield self.variable
        for operand in self.operands:
            yield from operand.variables()

    def bounds(self, axes: Mapping[int, Axis]) -> tuple[float, float]:
        """Lower and upper bound, perhaps infinite."""
        if self.value is not None:
            return self.value, self.value
        if self.variable is not None and self.variable in axes:
            axis = axes[self.variable]
            return axis.low, axis.high
        if self.operation is None:
            return -math.inf, math.inf
        (a, b), (c, d) = (operand.bounds(axes) for operand in self.operands)
        if self.operation is tirx.Sub:
            return a - d, b - c
        if self.operation is tirx.FloorMod:
            whole = c == d and 0 < c < math.inf and a >= 0 and b < c
            return (a, b) if whole else (0, d - 1)
        if self.operation is tirx.FloorDiv:
            return (a // c, b // c) if c == d and c > 0 and math.isfinite(a + b) else (-math.inf, math.inf)
        if self.operation is tirx.Mul:
            corners = [x * y for x in (a, b) for y in (c, d) if math.isfinite(x) and math.isfinite(y)]
            return (min(corners), max(corners)) if len(corners) == 4 else (-math.inf, math.inf)
        function = _OPERATIONS[self.operation]
        return function(a, c), function(b, d)  # type: ignore[arg-type]  # they take infinities too
