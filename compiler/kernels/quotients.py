"""Quotients of float32 by one number in multiply-adds, as exact as the division, which takes three times as long.

The product with the reciprocal is put right by what it leaves of the dividend (Markstein, "Computation of elementary
functions on the IBM RISC System/6000 processor", IBM Journal of Research and Development 34(1), 1990). That takes
dividends which are known to be moderate, as behind a clamp: of infinity it leaves no number. -0 becomes 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx

from ..target import Target
from .lowering import program_pass, width_of, with_body
from .scalars import Fact, Number, facts_of, is_factor, is_known, lanes_with, number_of, scalar, times

_MODERATE = 2.0**96


def divide_bounded(target: Target) -> Any:
    """The pass that divides so where vectors of clamped numbers are divided; after loops have become vectors."""
    fused = multiplies_and_adds(target)

    def lower(func: Any) -> Any:
        facts = facts_of(func)
        change = [(tirx.Div, lambda quotient: _changed(quotient, facts))]
        return with_body(func, tvm_ffi.structural_map(func.body, change)) if fused else func

    return program_pass(lower)


def multiplies_and_adds(target: Target) -> bool:
    """Whether one instruction rounds once for a product and a sum."""
    if target.machine in ("aarch64", "arm64"):
        return True
    return target.has({"armv7l": "vfp4", "x86_64": "fma"}.get(target.machine, "fma"))


def quotient_of(value: Any, divisor: Number) -> Any:
    """value / divisor for a vector of moderate float32, and a positive divisor whose reciprocal is normal."""
    dtype = str(value.ty.dtype)
    reciprocal = lanes_with(float(np.float32(1 / divisor)) if is_known(divisor) else scalar(1) / divisor, dtype)
    dividend, quotient = tirx.Var("dividend", dtype), tirx.Var("quotient", dtype)
    rest = _fma(quotient, lanes_with(times(divisor, -1), dtype), dividend)
    return tirx.Let(dividend, value, tirx.Let(quotient, dividend * reciprocal, _fma(rest, reciprocal, quotient)))


def _changed(quotient: Any, facts: Mapping[Any, Fact]) -> Any:
    divisor = number_of(quotient.b, facts)
    if width_of(quotient) == 1 or not str(quotient.ty.dtype).startswith("float32") or divisor is None:
        return quotient
    return (
        quotient_of(quotient.a, divisor) if is_factor(divisor, facts) and _is_clamped(quotient.a, facts) else quotient
    )


def _is_clamped(value: Any, facts: Mapping[Any, Fact]) -> bool:
    """Whether there are moderate bounds on both sides."""
    kinds = set()
    while isinstance(value, (tirx.Max, tirx.Min)):
        limit = number_of(value.b, facts)
        if limit is None:
            return False
        if not is_known(limit) or abs(limit) <= _MODERATE:
            kinds.add(type(value))
        value = value.a
    return kinds == {tirx.Max, tirx.Min}


def _fma(*values: Any) -> Any:
    return tirx.call_llvm_pure_intrin(str(values[0].ty.dtype), "llvm.fma", *values)
