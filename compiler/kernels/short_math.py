"""Functions of float32 that become 8-bit integers at once, in a third of the instructions that exact ones take.

A step of such a result is at least 1/255 of the largest, so that 13 bits of a function are enough. The largest errors
over all float32 arguments (tests/kernels/test_short_math.py holds them to it):

    exp  2e-4 relative       sigmoid  2e-4 relative       tanh, erf  2.2e-4 relative

Polynomials are shorter than those of `vector_math.py`, and what divides becomes an approximate reciprocal where there
is one: `vrcp14ps`, or the estimates of SSE and NEON with a step of Newton's method. AVX-512 also scales by powers of
two in one instruction, whose exponents may be infinite. The coefficients were fitted to the least relative error, by
Lawson's iteratively weighted least squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import ir, tirx

from ..target import Target
from .formulas import WHOLE, Unary, clamp, constant, horner, let, power_of_two
from .lowering import define_operator, width_of
from .scalars import Fact, is_factor, is_known, lanes_with, number_of, scalar
from .vectors import shuffle

_SHORT = "edgec.short."
_FULL = "tirx."
FUNCTIONS = ("exp", "sigmoid", "tanh", "erf")

for _name in FUNCTIONS:
    define_operator(_SHORT + _name, 1)


def is_short(call: Any) -> bool:
    return str(getattr(call.op, "name", "")).startswith(_SHORT)


def shortened(value: Any, facts: Mapping[Any, Fact]) -> Any:
    """A vector with functions of this file in place of exact ones, which goes into a rounding to 8 bits alone.

    The quotient by a number that it may be becomes a product with the reciprocal. None if the vector has none of the
    functions, as sums and products have to be as exact as the reference's.
    """
    if not _replaced(value):
        return None
    made = _with_short(value)
    divisor = number_of(made.b, facts) if isinstance(made, tirx.Div) else None
    if divisor is None or not is_factor(divisor, facts):
        return made
    reciprocal = 1 / divisor if is_known(divisor) else scalar(1) / divisor
    return made.a * lanes_with(reciprocal, str(made.ty.dtype))


def _replaced(value: Any) -> bool:
    """Whether a value has functions that may be short."""
    if isinstance(value, _TWO):
        return _replaced(value.a) or _replaced(value.b)
    return isinstance(value, ir.Call) and (
        _function(value) in FUNCTIONS or (_function(value) == "log" and _replaced(value.args[0]))
    )


def _function(call: Any) -> str:
    return str(getattr(call.op, "name", "")).removeprefix(_FULL)


def _with_short(value: Any) -> Any:
    if not _replaced(value):
        return value
    if isinstance(value, _TWO):
        return type(value)(_with_short(value.a), _with_short(value.b))
    operator = ir.Op.get(_SHORT + _function(value)) if _function(value) in FUNCTIONS else value.op
    return ir.Call(operator, [_with_short(value.args[0])], ret_ty=value.ty)


_TWO = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min)


def expand_short(call: Any, target: Target) -> Any:
    """The formula of a call, for vectors of the target's registers."""
    width, forms = width_of(call), _forms(target)
    lanes = next((lanes for lanes in sorted(forms, reverse=True) if width % lanes == 0), width)
    form = forms.get(lanes, _PLAIN)
    formula = _FORMULAS[call.op.name.removeprefix(_SHORT)]

    def in_registers(x: Any) -> Any:
        if lanes == width:
            return formula(x, form)
        parts = [shuffle([x], range(begin, begin + lanes)) for begin in range(0, width, lanes)]
        return shuffle([let(part, lambda t: formula(t, form)) for part in parts], range(width))

    return let(call.args[0], in_registers)


@dataclass(frozen=True)
class _Form:
    """What a target has for vectors of some width.

    Attributes:
        reciprocal: 1 / d of positive d up to 2^126, to 14 bits.
        power: 2^(x factor) of any x.
    """

    reciprocal: Unary
    power: Callable[[Any, float], Any]


def _exp(x: Any, form: _Form) -> Any:
    return form.power(x, math.log2(math.e))


def _sigmoid(x: Any, form: _Form) -> Any:
    return let(form.power(x, -math.log2(math.e)) + constant(x, 1.0), form.reciprocal)


def _tanh(x: Any, form: _Form) -> Any:
    return _odd(x, 4.95, _TANH, form)


def _erf(x: Any, form: _Form) -> Any:
    return _odd(x, 2.75, _ERF, form)


# Numerator and denominator of f(x) / x by x², from where on the function is 1 by 13 bits.
_Rational = tuple[tuple[float, ...], tuple[float, ...]]
_TANH: _Rational = (
    (6.753700270869384e-4, 1.0257148397833109e-1, 9.99950915770046e-1),
    (1.2867259186661494e-2, 4.3560139605816156e-1, 1.0),
)
_ERF: _Rational = (
    (2.959766084885663e-2, 1.664578380887219e-1, 1.1283479426534586),
    (3.6460566042095938e-3, 8.762386607135042e-2, 4.8038661144247097e-1, 1.0),
)


def _odd(x: Any, most: float, rational: _Rational, form: _Form) -> Any:
    over, under = rational

    def value(t: Any) -> Any:
        return let(t * t, lambda s: t * horner(s, over) * let(horner(s, under), form.reciprocal))

    return let(clamp(x, -most, most), value)


_FORMULAS: dict[str, Callable[[Any, _Form], Any]] = {"exp": _exp, "sigmoid": _sigmoid, "tanh": _tanh, "erf": _erf}

# 2 to the power of -1/2 to 1/2, and of 0 to 1; exact at 0.
_NEAREST = (5.500860575584013e-2, 2.422110077358749e-1, 6.932829674111154e-1, 1.0)
_ABOVE = (7.70669872291356e-2, 2.276450558432067e-1, 6.951167738473581e-1, 1.0)


def _power_by_bits(x: Any, factor: float) -> Any:
    """Of no less than 2^-126 and no more than 2^126: neither itself nor its reciprocal is infinite."""

    def bounded(t: Any) -> Any:
        magic, factors = constant(t, WHOLE + 127), constant(t, factor)

        def scaled(z: Any) -> Any:
            return let(t * factors - (z - magic), lambda f: horner(f, _NEAREST) * power_of_two(z))

        # As a call, through which TVM's simplifier does not see that the fraction is 0 but for rounding.
        return let(_call(t, "llvm.fmuladd", t, factors, magic), scaled)

    most = 126 / abs(factor)
    return let(clamp(x, -most, most), bounded)


_PLAIN = _Form(lambda d: constant(d, 1.0) / d, _power_by_bits)


def _forms(target: Target) -> dict[int, _Form]:
    """By lanes."""
    if target.machine == "x86_64":
        if target.simd_bits == 512 and target.has("avx512vl") and target.has("avx512dq"):
            return {lanes: _avx512(lanes) for lanes in (4, 8, 16)}
        estimates = {4: "sse.rcp.ps", **({8: "avx.rcp.ps.256"} if target.has("avx") else {})}
        return {lanes: _Form(_newton(f"llvm.x86.{name}"), _power_by_bits) for lanes, name in estimates.items()}
    if target.machine in ("aarch64", "arm64"):
        return {4: _Form(_neon("llvm.aarch64.neon.frecp"), _power_by_bits)}
    if target.machine == "armv7l" and target.has("neon"):
        return {4: _Form(_neon("llvm.arm.neon.vrecp"), _power_by_bits)}
    return {}


def _avx512(lanes: int) -> _Form:
    bits, mask = 32 * lanes, tirx.const((1 << lanes) - 1 if lanes > 8 else 0xFF, "uint16" if lanes > 8 else "uint8")
    rounding = [tirx.IntImm("int32", 4)] if lanes == 16 else []  # as the processor is set
    prefix, below = "llvm.x86.avx512.", tirx.IntImm("int32", 9)

    def reciprocal(d: Any) -> Any:
        return _call(d, f"{prefix}rcp14.ps.{bits}", d, d, mask)

    def power(x: Any, factor: float) -> Any:
        return let(x * constant(x, factor), of_two)

    def of_two(t: Any) -> Any:
        fraction = _call(t, f"{prefix}mask.reduce.ps.{bits}", t, below, t, mask, *rounding)
        polynomial = let(fraction, lambda f: horner(f, _ABOVE))
        return let(polynomial, lambda p: _call(t, f"{prefix}mask.scalef.ps.{bits}", p, t, p, mask, *rounding))

    return _Form(reciprocal, power)


def _newton(estimate: str) -> Unary:
    """Of an estimate that has 12 bits."""
    return lambda d: let(_call(d, estimate, d), lambda r: r * (constant(d, 2.0) - d * r))


def _neon(name: str) -> Unary:
    """Of an estimate that has 8 bits."""
    return lambda d: let(_call(d, f"{name}e.v4f32", d), lambda r: r * _call(d, f"{name}s.v4f32", d, r))


def _call(like: Any, name: str, *values: Any) -> Any:
    return tirx.call_llvm_pure_intrin(str(like.ty.dtype), name, *values)
