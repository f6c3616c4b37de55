"""Conversions between bfloat16, the upper half of a float32's bits, and float32, as arithmetic on these bits.

TVM makes the same of them, but forgets those inside of `Let`. Rounding needs its operand twice, for which a variable
is bound; as such bindings do not survive that loops become vectors, it is one operation until then.
"""

from __future__ import annotations

from typing import Any

from tvm import ir, tirx

from .lowering import define_operator, node_pass

_ROUND = define_operator("edgec.bits_of_bfloat16", 1)  # of the nearest one, as uint16


def convert_bfloat16() -> Any:
    """The pass that replaces casts between the two types; of arithmetic in bfloat16 TVM's legalisation takes care."""
    return node_pass(tirx.Cast, _convert)


def round_to_bfloat16() -> Any:
    """The pass that writes the rounding out; after loops have become vectors."""
    return node_pass(ir.Call, _round)


def _convert(cast: Any) -> Any:
    source, made = str(cast.value.ty.dtype), str(cast.ty.dtype)
    if source.startswith("bfloat16") and made.startswith("float32") and _has_bits(cast.value):
        wide, bits = (made.replace("float32", word) for word in ("uint32", "uint16"))
        word = tirx.Cast(wide, tirx.reinterpret(bits, cast.value))
        return tirx.reinterpret(made, tirx.shift_left(word, tirx.const(16, wide)))
    if source.startswith("float32") and made.startswith("bfloat16"):
        bits = ir.PrimType(source.replace("float32", "uint16"))
        return tirx.reinterpret(made, ir.Call(_ROUND, [cast.value], ret_ty=bits))
    return cast


def _has_bits(value: Any) -> bool:
    """Whether a bfloat16 is in memory, or is made of bits: arithmetic on it is in float32 after legalisation."""
    return isinstance(value, ir.TensorLoad) or str(getattr(getattr(value, "op", None), "name", "")).endswith(
        "reinterpret"
    )


def _round(call: Any) -> Any:
    if not call.op.same_as(_ROUND):
        return call
    bits = str(call.ty.dtype)
    wide = bits.replace("uint16", "uint32")
    word, sixteen = tirx.Var("word", wide), tirx.const(16, wide)
    # To the nearest, and of two to the even one.
    even = tirx.bitwise_and(tirx.shift_right(word, sixteen), tirx.const(1, wide))
    upper = tirx.shift_right(word + (even + tirx.const(0x7FFF, wide)), sixteen)
    return tirx.Cast(bits, tirx.Let(word, tirx.reinterpret(wide, call.args[0]), upper))
