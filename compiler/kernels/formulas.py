"""Parts that formulas of functions of float32 are made of, of single numbers and of vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

Unary = Callable[[Any], Any]


def let(value: Any, body: Unary) -> Any:
    """`body` over a variable bound to `value`, so that a value used twice is computed once."""
    variable = tirx.Var("t", value.ty)
    return tirx.Let(variable, value, body(variable))


def constant(like: Any, value: float) -> Any:
    return tirx.const(value, str(like.ty.dtype))


def horner(x: Any, coefficients: Sequence[float]) -> Any:
    """The polynomial with the highest power's coefficient first."""
    result = constant(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + constant(x, coefficient)
    return result


def clamp(x: Any, low: float, high: float) -> Any:
    """A NaN stays one: comparisons with it are false."""
    return let(at_most(x, high), lambda t: tirx.Select(t < constant(t, low), constant(t, low), t))


def at_most(x: Any, high: float) -> Any:
    return tirx.Select(x > constant(x, high), constant(x, high), x)


def integer_of(x: Any) -> str:
    return str(x.ty.dtype).replace("float32", "int32")


# Added to a float32 of up to ±2²², it leaves no room for a fraction: the sum's last bits are the rounded number.
WHOLE = 1.5 * 2**23


def power_of_two(z: Any) -> Any:
    """2 to the power of n from -126 to 127, of z = n + 127 + WHOLE, whose last bits go where exponents stand."""
    return tirx.reinterpret(
        str(z.ty.dtype), tirx.shift_left(tirx.reinterpret(integer_of(z), z), tirx.const(23, integer_of(z)))
    )
