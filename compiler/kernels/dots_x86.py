"""Dot products of words of four 8-bit integers by instructions of x86: exact, also where there is no VNNI.

`vpdpbusd` (AVX512-VNNI, AVX-VNNI) does a whole word. Without it, `pmaddwd` adds two products of 16-bit integers, the
even and the odd bytes of a word after they were made wider. `pmaddubsw` takes bytes as they are, but its sums of two
products have 16 bits and saturate; weights of which no two can reach that are the kind `small`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from ..target import Target
from .lowering import width_of
from .weight_limit import RUN, WeightLimit

_WIDEN = {
    128: ("sse2", "llvm.x86.sse2.pmadd.wd"),
    256: ("avx2", "llvm.x86.avx2.pmadd.wd"),
    512: ("avx512bw", "llvm.x86.avx512.pmaddw.d.512"),
}
_PAIRS = {
    128: ("ssse3", "llvm.x86.ssse3.pmadd.ub.sw.128"),
    256: ("avx2", "llvm.x86.avx2.pmadd.ub.sw"),
    512: ("avx512bw", "llvm.x86.avx512.pmaddubs.w.512"),
}


def instruction(target: Target, kind: str, lanes: int) -> Callable[[Any, Any, Any], Any] | None:
    """What adds the dot products of data and weights, vectors of so many words, to sums; None if nothing does."""
    bits = 32 * lanes
    if bits not in _WIDEN:
        return None
    if kind.startswith("uint8") and has_vnni(target, bits):
        name = f"llvm.x86.avx512.vpdpbusd.{bits}"
        return lambda sums, x, w: _call(f"int32x{lanes}", name, sums, _bytes(x, "uint8"), _bytes(w, "int8"))
    (feature, multiply), (of_bytes, multiply_bytes) = _WIDEN[bits], _PAIRS[bits]
    if kind == "uint8_small" and _has(target, of_bytes):

        def small(sums: Any, x: Any, w: Any) -> Any:
            pairs = _call(f"int16x{2 * lanes}", multiply_bytes, _bytes(x, "uint8"), _bytes(w, "int8"))
            return sums + _call(f"int32x{lanes}", multiply, pairs, tirx.const(1, f"int16x{2 * lanes}"))

        return small
    if not _has(target, feature):
        return None
    if kind == "int16":
        halves = f"int16x{2 * lanes}"
        return lambda sums, x, w: (
            sums + _call(f"int32x{lanes}", multiply, tirx.reinterpret(halves, x), tirx.reinterpret(halves, w))
        )

    def widen(sums: Any, x: Any, w: Any) -> Any:
        even, odd = (
            _call(f"int32x{lanes}", multiply, a, b)
            for a, b in zip(_halves(x, kind == "int8"), _halves(w, True), strict=True)
        )
        return sums + even + odd

    return widen


def has_vnni(target: Target, bits: int) -> bool:
    """Whether `vpdpbusd` exists for registers of so many bits."""
    wide = target.has("avx512vnni") and (bits == 512 or (target.has("avx512vl") and bits in (128, 256)))
    return wide or (target.has("avxvnni") and bits in (128, 256))


def weight_limit(target: Target) -> WeightLimit | None:
    """What weights keep to for `pmaddubsw` not to saturate, whose data are bytes without sign; None if VNNI has no need
    of that, or there is no such instruction."""
    if has_vnni(target, target.simd_bits) or not _has(target, _PAIRS[128][0]):
        return None
    return WeightLimit(neighbours=2, most=(1 << 15) // 255, runs=RUN)


def _has(target: Target, feature: str) -> bool:
    return feature == "sse2" or target.has(feature)


def _halves(words: Any, signed: bool) -> tuple[Any, Any]:
    """The even and the odd bytes of words as 16-bit integers."""
    dtype = f"{'' if signed else 'u'}int16x{2 * width_of(words)}"
    eight, pairs = tirx.const(8, dtype), tirx.reinterpret(dtype, words)
    if signed:
        return tirx.shift_right(tirx.shift_left(pairs, eight), eight), tirx.shift_right(pairs, eight)
    return tirx.bitwise_and(pairs, tirx.const(255, dtype)), tirx.shift_right(pairs, eight)


def _bytes(words: Any, dtype: str) -> Any:
    return tirx.reinterpret(f"{dtype}x{4 * width_of(words)}", words)


def _call(dtype: str, name: str, *args: Any) -> Any:
    return tirx.call_llvm_pure_intrin(dtype, name, *args)
