"""Numbers of a tensor program that are arguments of its kernel, not in its code.

Layers of a quantised model differ in their scales and zero points alone. With variables in their place the programs are
equal, and one kernel serves all of them; what it may take for granted of each stands in the program's attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import ir, tirx

# A constant, or an expression of parameters that are numbers.
Number = Any

# The attribute of a program whose parameters between inputs and results are numbers: a string of facts for each.
SCALARS = "edgec.scalars"
FAR = 1 << 14  # beyond this, and a zero point, all bounds are those of 8-bit types
_LEAST, _MOST = 2.0**-96, 2.0**96  # between these, numbers and their reciprocals are far from the limits of float32


@dataclass(frozen=True)
class Fact:
    """What is known of a number: it is an integer of at most `FAR`; it is positive, and its reciprocal is normal.

    Attributes:
        near: whether it is at most `FAR`.
    """

    whole: bool
    factor: bool
    near: bool

    @staticmethod
    def of(values: Iterable[float]) -> Fact:
        """Of any of some numbers."""
        array = np.array(list(values), np.float64)
        near = bool((np.abs(array) < FAR).all())
        whole = near and bool((np.rint(array) == array).all())
        return Fact(whole, bool(((array > _LEAST) & (array < _MOST)).all()), near)

    def __str__(self) -> str:
        return f"{'whole' * self.whole} {'factor' * self.factor} {'near' * self.near}"

    @property
    def most(self) -> float:
        """Its magnitude at most."""
        return FAR if self.near else np.inf


def facts_of(func: Any) -> dict[Any, Fact]:
    """By parameter that is a number."""
    facts = (func.attrs or {}).get(SCALARS, ())
    numbers = [param for param in func.params if is_scalar(param)]
    return {
        number: Fact(*(word in str(text).split() for word in ("whole", "factor", "near")))
        for number, text in zip(numbers, facts, strict=True)
    }


def is_scalar(param: Any) -> bool:
    """Whether a parameter is a number, not a buffer."""
    return not isinstance(param.ty, tirx.BufferType)


def number_of(expr: Any, facts: Mapping[Any, Fact]) -> Number | None:
    """The float32 that all lanes of an expression have, if it is a constant or a finite parameter."""
    scalar = expr.value if isinstance(expr, tirx.Broadcast) else expr
    if isinstance(scalar, tirx.FloatImm):
        return float(scalar.value)
    if isinstance(scalar, ir.Var) and scalar in facts and (facts[scalar].whole or facts[scalar].factor):
        return scalar
    return None


def is_factor(number: Number, facts: Mapping[Any, Fact]) -> bool:
    """Whether a number is positive, and its reciprocal is normal."""
    return _LEAST < number < _MOST if isinstance(number, float | int) else number in facts and facts[number].factor


def plus(a: Number, b: Number) -> Number:
    return a + b if is_known(a, b) else scalar(a) + scalar(b)


def minus(a: Number, b: Number) -> Number:
    return a - b if is_known(a, b) else scalar(a) - scalar(b)


def times(a: Number, b: Number) -> Number:
    """The product, of constants in more digits than float32 has."""
    return a * b if is_known(a, b) else scalar(a) * scalar(b)


def larger(a: Number, b: Number) -> Number:
    return max(a, b) if is_known(a, b) else tirx.Max(scalar(a), scalar(b))


def smaller(a: Number, b: Number) -> Number:
    return min(a, b) if is_known(a, b) else tirx.Min(scalar(a), scalar(b))


def rounded(a: Number) -> Number:
    """The nearest integer, of ties the even one; a number of at most `FAR`."""
    a = larger(-FAR, smaller(a, FAR))
    return round(a) if is_known(a) else tirx.nearbyint(a)


def lanes_with(number: Number, dtype: str) -> Any:
    """A vector of float32 or of integers, all of whose lanes are a number, which is whole for integers."""
    element, _, lanes = dtype.partition("x")
    if is_known(number):
        return tirx.const(number if element.startswith("float") else int(number), dtype)
    return tirx.Broadcast(number if element == str(number.ty.dtype) else tirx.Cast(element, number), int(lanes))


def scalar(number: Number) -> Any:
    return tirx.const(float(number), "float32") if is_known(number) else number


def is_known(*numbers: Number) -> bool:
    """Whether they are constants."""
    return all(isinstance(number, float | int) for number in numbers)
