"""Values that are stored in float16 without becoming infinite, and its conversions where no instruction does them."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx

from ..target import Target
from .lowering import program_pass, with_body

SATURATES = "edgec.saturates"  # the attribute of programs whose results in float16 are made to fit
LARGEST = 65504.0


def has_conversions(target: Target) -> bool:
    """Whether the CPU converts between float16 and float32 in vectors."""
    if target.machine == "x86_64":
        return target.has("f16c")
    if target.machine == "armv7l":
        return target.has("vfp4")
    return target.machine in ("aarch64", "arm64")


def has_arithmetic(target: Target) -> bool:
    """Whether the CPU computes in float16 in vectors."""
    return target.machine in ("aarch64", "arm64") and target.has("fullfp16")


def convert_float16(target: Target) -> Any:
    """The pass that makes numbers fit where a program says so, and writes conversions out that the CPU lacks."""

    def convert(func: Any) -> Any:
        fits = SATURATES in (func.attrs or {})
        if not fits and has_conversions(target):
            return func
        written = not has_conversions(target)
        change = [(tirx.Cast, lambda cast: _convert(cast, fits, written))]
        return with_body(func, tvm_ffi.structural_map(func.body, change))

    return program_pass(convert)


def _convert(cast: Any, fits: bool, written: bool) -> Any:
    source, made = str(cast.value.ty.dtype), str(cast.ty.dtype)
    if source.startswith("float32") and made.startswith("float16"):
        value = _let(cast.value, _fitting) if fits else cast.value
        if not written:
            return tirx.Cast(made, value)
        return _let(tirx.reinterpret(source.replace("float", "uint"), value), _halved)
    if written and source.startswith("float16") and made.startswith("float32"):
        bits = tirx.reinterpret(source.replace("float", "uint"), cast.value)
        return _let(tirx.Cast(made.replace("float", "uint"), bits), _doubled)
    return cast


def _let(value: Any, body: Any) -> Any:
    variable = tirx.Var("h", value.ty)
    return tirx.Let(variable, value, body(variable))


def _fitting(x: Any) -> Any:
    """The nearest finite number; a NaN stays one."""
    high, low = (tirx.const(limit, str(x.ty.dtype)) for limit in (LARGEST, -LARGEST))
    return _let(tirx.Select(x > high, high, x), lambda t: tirx.Select(t < low, low, t))


def _halved(word: Any) -> Any:
    """The float16 of a float32's bits, to the nearest, of two the even one."""
    wide = str(word.ty.dtype)
    half, bits = wide.replace("uint32", "float16"), wide.replace("uint32", "uint16")

    def number(value: int) -> Any:
        return tirx.const(value, wide)

    def rounded(a: Any) -> Any:
        # Below 2^-14 the sum with 1/2 has the bits at its end; above, exponents are counted anew.
        small = tirx.reinterpret(wide, tirx.reinterpret(wide.replace("uint", "float"), a) + _half(wide))
        odd = tirx.bitwise_and(tirx.shift_right(a, number(13)), number(1))
        usual = tirx.shift_right(a + (odd + number(0xC8000FFF)), number(13))
        found = tirx.Select(a < number(0x38800000), small - number(0x3F000000), usual)
        found = tirx.Select(a >= number(0x47800000), number(0x7C00), found)
        found = tirx.Select(a > number(0x7F800000), number(0x7E00), found)
        sign = tirx.shift_right(tirx.bitwise_and(word, number(0x80000000)), number(16))
        return tirx.reinterpret(half, tirx.Cast(bits, tirx.bitwise_or(found, sign)))

    return _let(tirx.bitwise_and(word, number(0x7FFFFFFF)), rounded)


def _half(wide: str) -> Any:
    return tirx.const(0.5, wide.replace("uint", "float"))


def _doubled(word: Any) -> Any:
    """The float32 of a float16's bits."""
    wide = str(word.ty.dtype)
    single = wide.replace("uint", "float")

    def number(value: int) -> Any:
        return tirx.const(value, wide)

    magnitude = tirx.shift_left(tirx.bitwise_and(word, number(0x7FFF)), number(13))
    sign = tirx.shift_left(tirx.bitwise_and(word, number(0x8000)), number(16))
    scaled = tirx.reinterpret(wide, tirx.reinterpret(single, magnitude) * tirx.const(2.0**112, single))
    special = tirx.bitwise_and(word, number(0x7C00)).equal(number(0x7C00))
    found = tirx.Select(special, tirx.bitwise_or(magnitude, number(0x7F800000)), scaled)
    return tirx.reinterpret(single, tirx.bitwise_or(found, sign))
