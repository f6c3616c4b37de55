"""Exponential, hyperbolic tangent, error function, logarithm, sigmoid, sine and cosine of float32 as polynomials.

Left alone, a vectorised loop over them calls libm once for each element. The largest errors over all
float32 arguments, measured against float64 (tests/kernels/test_vector_math.py holds them to it):

    exp      1.2e-7 relative       tanh     3.5e-7 relative       erf  4e-7 absolute
    log      1.2e-7 relative, 1e-7 absolute near 1                sigmoid  2.5e-7 relative
    sin, cos 1.3e-7 absolute (and of small arguments relative); beyond 12867, libm is called for all of a vector

Infinities, NaNs, overflow and underflow come out as in libm; results below 1.7e-38 may be 0.
Sources: exp and log after Moshier's Cephes library (expf, logf); tanh and erf are the rational
minimax approximations of Eigen (MathFunctionsImpl.h); how sines take multiples of pi off is Cody and Waite's, Software
Manual for the Elementary Functions, 1980, with the parts of pi that Cephes' sinf has, and a polynomial of our own.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import ir, tirx

from ..target import Target
from .formulas import WHOLE, Unary, at_most, clamp, constant, horner, integer_of, is_constant, let, power_of_two
from .lowering import node_pass, width_of
from .short_math import expand_short, is_short

_ERF = ir.Op.get("tirx.erf")
_LARGEST = 3.4028234663852886e38


def expand_math(target: Target) -> Any:
    """The pass that replaces the calls, in scalar and in vector code alike; before TVM lowers intrinsics."""
    return node_pass(ir.Call, lambda call: expand_short(call, target) if is_short(call) else expand_call(call))


# TVM would take loops over these apart, and leave them to LLVM's vectoriser.
for _name in ("erf", "nearbyint"):
    ir.register_op_attr(f"tirx.{_name}", "TVectorizable", True)


def call_double_math() -> Any:
    """The pass that makes calls of libm of what has no vector form in float64; before loops become vectors."""

    def replace(call: Any) -> Any:
        if call.op.same_as(_ERF) and str(call.ty.dtype) == "float64":
            return tirx.call_pure_extern("float64", "erf", call.args[0])
        return call

    return node_pass(ir.Call, replace)


def is_expanded(call: Any) -> bool:
    """Whether a call becomes a polynomial; not those of constants."""
    if is_short(call):
        return True
    known = getattr(call.op, "name", "") in _FORMULAS and str(call.ty.dtype).startswith("float32")
    return known and not is_constant(call.args[0])


def expand_call(call: Any) -> Any:
    """What the pass puts in the place of one call; others stay."""
    return let(call.args[0], _FORMULAS[call.op.name]) if is_expanded(call) else call


def _bits(like: Any, pattern: int) -> Any:
    """The float32 of a bit pattern; infinities and NaNs cannot be written as constants."""
    return tirx.reinterpret(str(like.ty.dtype), tirx.const(pattern, integer_of(like)))


def _unless_nan(x: Any, value: Any) -> Any:
    """`value`, but `x` itself where that is a NaN, which clamping has lost.

    Tested by its bits: TVM takes `x != x` for false.
    """
    magnitude = tirx.bitwise_and(tirx.reinterpret(integer_of(x), x), tirx.const(0x7FFFFFFF, integer_of(x)))
    return tirx.Select(magnitude > tirx.const(0x7F800000, integer_of(x)), x, value)


_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


def _exp(x: Any) -> Any:
    def flushed(t: Any) -> Any:
        return tirx.Select(t < constant(t, -87.0), constant(t, 0.0), _exp_of_moderate(t))

    # The argument beyond which the result is infinite; scaling makes it so.
    return let(at_most(x, 89.0), flushed)


def _exp_of_moderate(x: Any) -> Any:
    """exp(x) from -87 to 89, or of NaN; anything below."""
    magic = constant(x, WHOLE + 126)

    def reduced(z: Any) -> Any:
        n = z - magic
        return let(x - n * constant(x, 0.693359375) - n * constant(x, -2.12194440e-4), lambda r: scaled(z, r))

    def scaled(z: Any, r: Any) -> Any:
        polynomial = horner(r, _EXP) * r * r + r + constant(r, 1.0)
        # In two steps, since the power may be 2 to the 128.
        return polynomial * power_of_two(z) * constant(r, 2.0)

    return let(x * constant(x, math.log2(math.e)) + magic, reduced)


# 2 to the power of -1/2 to 1/2, exact at 0; least squares with weights that level the error (9.1e-8 relative).
_EXP2 = (1.3264727e-3, 9.6715126e-3, 5.5507337e-2, 2.4022242e-1, 6.9314698e-1, 1.0)


def exp_of_nonpositive(x: Any) -> Any:
    """exp(x) of a float32 expression that is at most 0, or NaN: as softmax needs it, in half of the time.

    Relative error 3e-7, more where the result is tiny: 1e-7 for each unit of x; 0 below -87.3.
    """

    def reduced(t: Any) -> Any:
        magic = constant(t, WHOLE + 127)
        return let(t + magic, lambda z: scaled(t, z, t - (z - magic)))

    def scaled(t: Any, z: Any, fraction: Any) -> Any:
        value = let(fraction, lambda f: horner(f, _EXP2)) * power_of_two(z)
        return tirx.Select(t < constant(t, -126.0), constant(t, 0.0), value)

    return let(x * constant(x, math.log2(math.e)), reduced)


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
        return let(t * t, lambda s: t * horner(s, _TANH_ODD) / horner(s, _TANH_EVEN))

    # Beyond the clamp the result is 1 in float32.
    return clamp(let(clamp(x, -7.99881172180175781, 7.99881172180175781), rational), -1.0, 1.0)


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
        return let(t * t, lambda s: t * horner(s, _ERF_ODD) / horner(s, _ERF_EVEN))

    return clamp(let(clamp(x, -4.0, 4.0), rational), -1.0, 1.0)


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
    dtype, integer = str(x.ty.dtype), integer_of(x)

    def whole(value: int) -> Any:
        return tirx.const(value, integer)

    def normal(t: Any) -> Any:
        # t = m 2^e with m from sqrt(1/2) to sqrt(2), by moving the exponent's bits.
        bits = tirx.reinterpret(integer, t) - whole(0x3F3504F3)
        return let(bits, lambda b: split(b))

    def split(b: Any) -> Any:
        exponent = tirx.Cast(dtype, tirx.shift_right(b, whole(23)))
        mantissa = tirx.reinterpret(dtype, tirx.bitwise_and(b, whole(0x007FFFFF)) + whole(0x3F3504F3))
        return let(exponent, lambda e: let(mantissa - constant(x, 1.0), lambda f: series(e, f)))

    def series(e: Any, f: Any) -> Any:
        square = f * f
        tail = horner(f, _LOG) * f * square - constant(x, 0.5) * square + e * constant(x, -2.12194440e-4)
        return f + tail + e * constant(x, 0.693359375)

    # Denormals are scaled to normal numbers first.
    small = x < constant(x, 1.17549435e-38)
    scaled = tirx.Select(small, x * constant(x, 2.0**23), x)
    offset = tirx.Select(small, constant(x, 23 * math.log(2)), constant(x, 0.0))
    result = let(clamp(scaled, 1.17549435e-38, _LARGEST), normal) - offset
    result = tirx.Select(x > constant(x, _LARGEST), x, result)
    result = tirx.Select(tirx.EQ(x, constant(x, 0.0)), _bits(x, -0x00800000), result)
    return _unless_nan(x, tirx.Select(x < constant(x, 0.0), _bits(x, 0x7FC00000), result))


def _sigmoid(x: Any) -> Any:
    # Below -87, exp(x) no longer changes the sum.
    return constant(x, 1.0) / (constant(x, 1.0) + let(clamp(-x, -87.0, 89.0), _exp_of_moderate))


# Parts of pi: products of the first two with multiples of a half up to 4096 are exact.
_PI = (3.140625, 9.67502593994140625e-4, 1.5099579909783765e-7)
_FAR = 12867.0
# sin(r) / r - 1 by the square of r from -pi/2 to pi/2; least squares with weights that level the relative error (6e-9).
_SIN = (2.605590225357446e-6, -1.9809522200375795e-4, 8.333065547049046e-3, -1.6666659712791443e-1)


def _sin(x: Any) -> Any:
    return tirx.if_then_else(_any(tirx.abs(x) > constant(x, _FAR)), tirx.sin(x), _sin_of_moderate(x, 0.0))


def _cos(x: Any) -> Any:
    return tirx.if_then_else(_any(tirx.abs(x) > constant(x, _FAR)), tirx.cos(x), _sin_of_moderate(x, 0.5))


def _any(condition: Any) -> Any:
    """Whether it is so in one of the lanes."""
    if width_of(condition) == 1:
        return condition
    return tirx.call_llvm_pure_intrin("bool", "llvm.vector.reduce.or", condition)


def _sin_of_moderate(x: Any, half: float) -> Any:
    """x = (n + half) pi + r: sin(r) where n is even, -sin(r) where it is odd; for half = 0.5 the other way round."""
    integer, magic = integer_of(x), constant(x, WHOLE)

    def reduced(z: Any) -> Any:
        whole = z - magic
        return let(whole + constant(x, half) if half else whole, lambda n: let(rest(n), lambda r: signed(z, r)))

    def rest(n: Any) -> Any:
        r = x
        for part in _PI:
            r = r - n * constant(x, part)
        return r

    def signed(z: Any, r: Any) -> Any:
        sine = clamp(let(r * r, lambda s: horner(s, _SIN) * s * r + r), -1.0, 1.0)  # what is rounded may be above
        last = tirx.reinterpret(integer, z) + tirx.const(int(half > 0), integer)
        sign = tirx.shift_left(last, tirx.const(31, integer))
        return tirx.reinterpret(str(x.ty.dtype), tirx.bitwise_xor(tirx.reinterpret(integer, sine), sign))

    turns = x * constant(x, 1 / math.pi)
    return let((turns - constant(x, half) if half else turns) + magic, reduced)


_FORMULAS: dict[str, Unary] = {
    "tirx.exp": _exp,
    "tirx.tanh": _tanh,
    "tirx.erf": _erf,
    "tirx.log": _log,
    "tirx.sigmoid": _sigmoid,
    "tirx.sin": _sin,
    "tirx.cos": _cos,
}
