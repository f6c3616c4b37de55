"""What a program makes 8-bit integers of: floats that it rounds, adds a zero point to, and clamps.

A clamp before the rounding, as of a Relu, is one of the integers too, since both grow together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import ir, tirx

from .lowering import width_of
from .pieces import LEAST_LANES
from .quotients import quotient_of
from .scalars import (
    FAR,
    Fact,
    Number,
    is_factor,
    lanes_with,
    larger,
    minus,
    number_of,
    plus,
    rounded,
    scalar,
    smaller,
    times,
)
from .short_math import shortened

LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}

Facts = Mapping[Any, Fact]


@dataclass(frozen=True)
class Step:
    """clamp(round(value) + zero, low, high), in integers; constants or parameters of the kernel.

    Attributes:
        approximate: whether the value has some bits only, which the sum with the zero point may be rounded with.
    """

    value: Any
    zero: Number
    low: Number
    high: Number
    approximate: bool = False


def step_of(cast: Any, facts: Facts) -> Step | None:
    """What a cast of a vector of floats to 8-bit integers converts, if it has this form."""
    dtype = str(cast.ty.dtype).partition("x")[0]
    if dtype not in LIMITS or not str(cast.value.ty.dtype).startswith("float32x") or width_of(cast) % LEAST_LANES:
        return None
    low, high = LIMITS[dtype]
    value, zero = cast.value, _whole(0.0, facts)
    if not isinstance(value, tirx.Max) or number_of(value.b, facts) != low:
        return None
    value = value.a
    if not isinstance(value, tirx.Min) or number_of(value.b, facts) != high:
        return None
    value = value.a
    if isinstance(value, tirx.Add) and (added := number_of(value.b, facts)) is not None:
        value, zero = value.a, _whole(added, facts)
    if not isinstance(value, ir.Call) or value.op.name != "tirx.nearbyint" or zero is None:
        return None
    step = _unclamped(Step(value.args[0], zero, low, high), facts)
    value = shortened(step.value, facts)
    return step if value is None else replace(step, value=value, approximate=True)


def _whole(number: Number, facts: Facts) -> Number | None:
    """A zero point, if a number can be one."""
    if isinstance(number, float):
        return int(number) if -FAR < number < FAR and not number % 1 else None
    return number if facts[number].whole else None


def _unclamped(step: Step, facts: Facts) -> Step:
    """Without the clamps of the value before its rounding, and the bounds with them."""
    while (found := _bound(step.value, facts)) is not None:
        value, limit, kind = found
        bound = plus(rounded(limit), step.zero)
        bound = larger(step.low, smaller(bound, step.high))
        low, high = (bound, step.high) if kind is tirx.Max else (step.low, bound)
        step = Step(value, step.zero, low, high)
    return step


def _bound(value: Any, facts: Facts) -> tuple[Any, Number, type] | None:
    """What a value clamps, by which number, and how, with a positive factor inside of the clamp."""
    if isinstance(value, (tirx.Max, tirx.Min)):
        limit = number_of(value.b, facts)
        return None if limit is None else (value.a, limit, type(value))
    if not isinstance(value, (tirx.Mul, tirx.Div)):
        return None
    factor, inner = number_of(value.b, facts), _bound(value.a, facts)
    if factor is None or inner is None or not is_factor(factor, facts):
        return None
    limit = _scaled(inner[1], factor, type(value))
    return None if limit is None else (type(value)(inner[0], value.b), limit, inner[2])


def _scaled(limit: Number, factor: Number, kind: type) -> Number | None:
    """The product or quotient as float32 has it; None if it is not a number."""
    if isinstance(limit, float) and isinstance(factor, float):
        a, b = np.float32(limit), np.float32(factor)
        result = a * b if kind is tirx.Mul else a / b
        return None if np.isnan(result) else float(result)
    if isinstance(limit, float) and not limit:
        return limit  # as all factors are positive
    return kind(scalar(limit), scalar(factor))


def between_bounds(step: Step, facts: Facts, multiply_adds: bool, dtype: str, below: bool = True) -> Any:
    """The floats between the bounds, or if not `below` them above no more than that."""
    low, high = minus(step.low, step.zero), minus(step.high, step.zero)
    divisor = number_of(step.value.b, facts) if isinstance(step.value, tirx.Div) and multiply_adds else None
    if divisor is not None and is_factor(divisor, facts):
        most, least = (lanes_with(times(bound, divisor), dtype) for bound in (high, low))
        return quotient_of(tirx.Max(tirx.Min(step.value.a, most), least), divisor)
    value = tirx.Min(step.value, lanes_with(high, dtype))
    return tirx.Max(value, lanes_with(low, dtype)) if below else value
