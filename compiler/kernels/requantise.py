"""Rounding to 8-bit integers between two bounds, as the results of quantised kernels are stored.

Behind `round(v) + zero point`, clamped and converted, are a dozen instructions a vector on x86. The bounds may as well
be taken before, since they are whole numbers; then adding a large number leaves the rounded value in the lowest bits,
as in vector_math.py, from where it is cut off.
"""

from __future__ import annotations

from typing import Any

from tvm import ir, tirx

from .lowering import node_pass

_WHOLE = 12582912  # 1.5 * 2**23: the sum with numbers up to 2**22 has no bits for a fraction
_BYTES = ("uint8", "int8")
_ROUND = ("tirx.nearbyint", "tirx.round")  # both take the even one of two


def round_to_bytes() -> Any:
    """The pass; after loops have become vectors, and before TVM lowers intrinsics."""
    return node_pass(tirx.Cast, _convert)


def _convert(cast: Any) -> Any:
    dtype, _, _lanes = str(cast.ty.dtype).partition("x")
    if dtype not in _BYTES or not str(cast.value.ty.dtype).startswith("float32"):
        return cast
    low, high, value = _bounds(cast.value)
    zero = 0.0
    if isinstance(value, tirx.Add) and (number := _number(value.b)) is not None:
        zero, value = number, value.a
    rounded = isinstance(value, ir.Call) and getattr(value.op, "name", "") in _ROUND
    if not rounded or not all(number.is_integer() and abs(number) < 1 << 21 for number in (low, high, zero)):
        return cast
    low, high, value = _bounds(value.args[0], low - zero, high - zero)
    if low > high:
        return cast
    floats = str(value.ty.dtype)
    offset = int(zero)
    even = offset - offset % 2  # an odd one would change which of two is the even number
    value = tirx.Max(tirx.Min(value, tirx.const(high, floats)), tirx.const(low, floats))
    bits = tirx.reinterpret(floats.replace("float", "int"), value + tirx.const(float(_WHOLE + even), floats))
    if offset % 2:
        bits = bits + tirx.const(1, str(bits.ty.dtype))
    return tirx.Cast(str(cast.ty.dtype), bits)


def _bounds(value: Any, low: float = -float("inf"), high: float = float("inf")) -> tuple[float, float, Any]:
    """The narrowest bounds that constants put around a value, and the value without them."""
    while isinstance(value, tirx.Max | tirx.Min) and (bound := _number(value.b)) is not None:
        if isinstance(value, tirx.Max):
            if bound > high:
                break
            low = max(low, bound)
        else:
            if bound < low:
                break
            high = min(high, bound)
        value = value.a
    return low, high, value


def _number(value: Any) -> float | None:
    value = value.value if isinstance(value, tirx.Broadcast) else value
    return float(value.value) if isinstance(value, tirx.FloatImm) else None
