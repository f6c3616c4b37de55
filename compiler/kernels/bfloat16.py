"""Conversions between bfloat16, the upper half of a float32's bits, and float32, as arithmetic on these bits.

TVM makes the same of them, but forgets those inside of `Let`.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from .lowering import node_pass


def convert_bfloat16() -> Any:
    """The pass that replaces casts between the two types; of arithmetic in bfloat16 TVM's legalisation takes care."""
    return node_pass(tirx.Cast, _convert)


def _convert(cast: Any) -> Any:
    source, made = str(cast.value.ty.dtype), str(cast.ty.dtype)
    if source.startswith("bfloat16") and made.startswith("float32"):
        wide, bits = (made.replace("float32", word) for word in ("uint32", "uint16"))
        word = tirx.Cast(wide, tirx.reinterpret(bits, cast.value))
        return tirx.reinterpret(made, tirx.shift_left(word, tirx.const(16, wide)))
    if source.startswith("float32") and made.startswith("bfloat16"):
        wide, bits = (source.replace("float32", word) for word in ("uint32", "uint16"))
        word = tirx.Var("word", wide)
        sixteen = tirx.const(16, wide)
        # To the nearest, and of two to the even one.
        even = tirx.bitwise_and(tirx.shift_right(word, sixteen), tirx.const(1, wide))
        upper = tirx.shift_right(word + (even + tirx.const(0x7FFF, wide)), sixteen)
        return tirx.reinterpret(made, tirx.Cast(bits, tirx.Let(word, tirx.reinterpret(wide, cast.value), upper)))
    return cast
