"""Exponential, hyperbolic tangent, error function, logarithm and sigmoid of float32 as polynomials.

Left alone, a vectorised loop over them calls libm once for each element. The largest errors over all
float32 arguments, measured against float64 (tests/kernels/test_vector_math.py holds them to it):

    exp      1.2e-7 relative       tanh     3.5e-7 relative       erf  4e-7 absolute
    log      1.2e-7 relative, 1e-7 absolute near 1                sigmoid  2.5e-7 relative

Infinities, NaNs, overflow and underflow come out as in libm; results below 1.2e-38 may lose bits.
Sources: exp and log after Moshier's Cephes library (expf, logf); tanh and erf are the rational
minimax approximations of Eigen (MathFunctionsImpl.h).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tvm_ffi
from tvm import ir, tirx

_Unary = Callable[[Any], Any]
_LARGEST = 3.4028234663852886e38


def expand_math() -> Any:
    """The pass that replaces the calls, in scalar and in vector code alike; before TVM lowers intrinsics."""

    @tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]  # TVM has no annotations
    def expand(func: Any, _module: Any, _context: Any) -> Any:
        return func.with_body(tvm_ffi.structural_map(func.body, [(ir.Call, _replace)]))

    return expand


def _replace(call: Any) -> Any:
    formula = _FORMULAS.get(getattr(call.op, "name", ""))
    if formula is None or not str(call.ty.dtype).startswith("float32"):
        return call
    return _let(call.args[0], formula)


def _let(value: Any, body: _Unary) -> Any:
    """`body` over a variable bound to `value`, so that a value used twice is computed once."""
    variable = tirx.Var("t", value.ty)
    return tirx.Let(variable, value, body(variable))


def _constant(like: Any, value: float) -> Any:
    return tirx.const(value, str(like.ty.dtype))


def _bits(like: Any, pattern: int) -> Any:
    """The float32 of a bit pattern; infinities and NaNs cannot be written as constants."""
    return tirx.reinterpret(str(like.ty.dtype), tirx.const(pattern, _integer(like)))


def _horner(x: Any, coefficients: Sequence[float]) -> Any:
    """The polynomial with the highest power's coefficient first."""
    result = _constant(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result = result * x + _constant(x, coefficient)
    return result


def _clamp(x: Any, low: float, high: float) -> Any:
    return tirx.max(tirx.min(x, _constant(x, high)), _constant(x, low))


def _unless_nan(x: Any, value: Any) -> Any:
    """`value`, but `x` itself where that is a NaN, which clamping has lost.

    Tested by its bits: TVM takes `x != x` for false.
    """
    magnitude = tirx.bitwise_and(tirx.reinterpret(_integer(x), x), tirx.const(0x7FFFFFFF, _integer(x)))
    return tirx.Select(magnitude > tirx.const(0x7F800000, _integer(x)), x, value)


def _integer(x: Any) -> str:
    return str(x.ty.dtype).replace("float32", "int32")


def _power_of_two(exponent: Any, dtype: str) -> Any:
    """2 to the power of an integer from -126 to 127, put together from its bits."""
    bias = tirx.const(127, str(exponent.ty.dtype))
    return tirx.reinterpret(dtype, (exponent + bias) * tirx.const(1 << 23, str(exponent.ty.dtype)))


_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


def _exp(x: Any) -> Any:
    dtype = str(x.ty.dtype)

    def reduced(t: Any) -> Any:
        # The arguments beyond which the result is 0 or infinite; the scaling below makes them so.
        return _let(tirx.floor(t * _constant(t, math.log2(math.e)) + _constant(t, 0.5)), lambda n: scaled(t, n))

    def scaled(t: Any, n: Any) -> Any:
        remainder = t - n * _constant(t, 0.693359375) - n * _constant(t, -2.12194440e-4)
        return _let(remainder, lambda r: _let(tirx.Cast(_integer(t), n), lambda k: product(r, k)))

    def product(r: Any, k: Any) -> Any:
        polynomial = _horner(r, _EXP) * r * r + r + _constant(r, 1.0)
        # In two steps, since the exponent may leave the range of one factor: -151 to 129.
        half = tirx.shift_right(k, tirx.const(1, str(k.ty.dtype)))
        return polynomial * _power_of_two(half, dtype) * _power_of_two(k - half, dtype)

    return _unless_nan(x, _let(_clamp(x, -104.0, 89.0), reduced))


_TANH_ODD = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_EVEN = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def _tanh(x: Any) -> Any:
    def rational(t: Any) -> Any:
        return _let(t * t, lambda s: t * _horner(s, _TANH_ODD) / _horner(s, _TANH_EVEN))

    # Beyond the clamp the result is 1 in float32.
    return _unless_nan(x, _clamp(_let(_clamp(x, -7.99881172180175781, 7.99881172180175781), rational), -1.0, 1.0))


_ERF_ODD = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_EVEN = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def _erf(x: Any) -> Any:
    def rational(t: Any) -> Any:
        return _let(t * t, lambda s: t * _horner(s, _ERF_ODD) / _horner(s, _ERF_EVEN))

    return _unless_nan(x, _clamp(_let(_clamp(x, -4.0, 4.0), rational), -1.0, 1.0))


_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)


def _log(x: Any) -> Any:
    dtype, integer = str(x.ty.dtype), _integer(x)

    def whole(value: int) -> Any:
        return tirx.const(value, integer)

    def normal(t: Any) -> Any:
        # t = m 2^e with m from sqrt(1/2) to sqrt(2), by moving the exponent's bits.
        bits = tirx.reinterpret(integer, t) - whole(0x3F3504F3)
        return _let(bits, lambda b: split(b))

    def split(b: Any) -> Any:
        exponent = tirx.Cast(dtype, tirx.shift_right(b, whole(23)))
        mantissa = tirx.reinterpret(dtype, tirx.bitwise_and(b, whole(0x007FFFFF)) + whole(0x3F3504F3))
        return _let(exponent, lambda e: _let(mantissa - _constant(x, 1.0), lambda f: series(e, f)))

    def series(e: Any, f: Any) -> Any:
        square = f * f
        tail = _horner(f, _LOG) * f * square - _constant(x, 0.5) * square + e * _constant(x, -2.12194440e-4)
        return f + tail + e * _constant(x, 0.693359375)

    # Denormals are scaled to normal numbers first.
    small = x < _constant(x, 1.17549435e-38)
    scaled = tirx.Select(small, x * _constant(x, 2.0**23), x)
    offset = tirx.Select(small, _constant(x, 23 * math.log(2)), _constant(x, 0.0))
    result = _let(_clamp(scaled, 1.17549435e-38, _LARGEST), normal) - offset
    result = tirx.Select(x > _constant(x, _LARGEST), x, result)
    result = tirx.Select(tirx.EQ(x, _constant(x, 0.0)), _bits(x, -0x00800000), result)
    return _unless_nan(x, tirx.Select(x < _constant(x, 0.0), _bits(x, 0x7FC00000), result))


def _sigmoid(x: Any) -> Any:
    return _constant(x, 1.0) / (_constant(x, 1.0) + _let(-x, _exp))


_FORMULAS: dict[str, _Unary] = {
    "tirx.exp": _exp,
    "tirx.tanh": _tanh,
    "tirx.erf": _erf,
    "tirx.log": _log,
    "tirx.sigmoid": _sigmoid,
}
