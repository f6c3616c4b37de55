"""8-bit integers of vectors of floats, in x86's instructions, which round to 32 bits and narrow with saturation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.tirx import call_llvm_pure_intrin

from ..target import Target
from .lowering import width_of
from .pieces import LEAST_LANES, joined, piece
from .quantised_step import LIMITS, Facts, Step, between_bounds
from .scalars import Number, is_known, lanes_with, minus
from .vectors import shuffle

WIDEST = 16  # of AVX-512's


def lanes_that_are_packed(target: Target) -> int:
    """Floats of a vector that instructions of x86 round to integers, and narrow with saturation; 0 for none.

    AVX-512 narrows each vector by itself (`by_saturation`).
    """
    if target.machine != "x86_64" or target.simd_bits > 256 or not target.has("sse4.1"):
        return 0
    return 8 if target.has("avx2") else 4


def by_packing(cast: Any, step: Step, facts: Facts, multiply_adds: bool, lanes: int, fits: bool) -> Any:
    """Rounds as `cvtps2dq` does, which makes the least integer of what does not fit one: of the floats only the upper
    bound is needed, and none if it is known that all of them fit."""
    whole = width_of(cast)
    lanes = lanes if whole % lanes == 0 else LEAST_LANES
    value = step.value if fits else between_bounds(step, facts, multiply_adds, f"float32x{whole}", below=False)
    clamped = tirx.Var("clamped", str(value.ty.dtype))  # computed once, however many pieces are taken of it
    vectors = [_round(piece(clamped, begin, lanes)) for begin in range(0, whole, lanes)]
    together = next(count for count in (4, 2, 1) if len(vectors) % count == 0)
    dtype = str(cast.ty.dtype).partition("x")[0]
    groups = [vectors[at : at + together] for at in range(0, len(vectors), together)]
    result = joined([_narrowed(group, step.zero, dtype) for group in groups], whole)
    if not is_known(step.low) or step.low > LIMITS[dtype][0]:
        result = tirx.Max(result, lanes_with(step.low, str(result.ty.dtype)))
    if fits and (not is_known(step.high) or step.high < LIMITS[dtype][1]):
        result = tirx.Min(result, lanes_with(step.high, str(result.ty.dtype)))
    return tirx.Let(clamped, value, result)


def by_saturation(cast: Any, step: Step) -> Any:
    """Bytes without sign as AVX-512 narrows each vector, with saturation: of the floats only the lower bound is needed.

    What is too large for an integer rounds to -2^31, which is large without a sign. None for what is bounded above by
    less, or is a quotient, which is clamped before.
    """
    whole = width_of(cast)
    if isinstance(step.value, tirx.Div) or not str(cast.ty.dtype).startswith("uint8"):
        return None
    if not is_known(step.high) or step.high < LIMITS["uint8"][1] or not is_known(step.zero) or step.zero < 0:
        return None
    lanes = next(count for count in (4 * LEAST_LANES, 2 * LEAST_LANES, LEAST_LANES) if whole % count == 0)
    clamped = tirx.Var("clamped", str(step.value.ty.dtype))
    parts = [_round(piece(clamped, begin, lanes)) for begin in range(0, whole, lanes)]
    unsigned = f"uint32x{whole}"
    signed = shuffle(parts, range(whole)) if len(parts) > 1 else parts[0]
    result = tirx.reinterpret(unsigned, signed + lanes_with(step.zero, f"int32x{whole}") if step.zero else signed)
    value = tirx.Max(step.value, lanes_with(minus(step.low, step.zero), str(clamped.ty.dtype)))
    return tirx.Let(clamped, value, tirx.Cast(str(cast.ty.dtype), tirx.Min(result, tirx.const(255, unsigned))))


def _round(part: Any) -> Any:
    """Four, eight or sixteen floats to int32; what does not fit becomes -2^31."""
    lanes = width_of(part)
    if lanes in _ROUND:
        return call_llvm_pure_intrin(f"int32x{lanes}", f"llvm.x86.{_ROUND[lanes]}", part)
    given = tirx.const(0, f"int32x{lanes}"), tirx.const(-1, "int16"), tirx.const(_MODE_OF_CPU, "int32")
    return call_llvm_pure_intrin(f"int32x{lanes}", "llvm.x86.avx512.mask.cvtps2dq.512", part, *given)


def _narrowed(vectors: Sequence[Any], zero: Number, dtype: str) -> Any:
    """One, two or four vectors of int32 as one of bytes, with the zero point added on the way."""
    if width_of(vectors[0]) == WIDEST:
        return _narrowed_to_register(vectors, zero, dtype)
    wide = width_of(vectors[0]) == 2 * LEAST_LANES
    if wide and len(vectors) == 1:
        vectors, wide = [shuffle(vectors, range(at, at + LEAST_LANES)) for at in (0, LEAST_LANES)], False
    halves = [
        _pack("packssdw", f"int16x{4 * LEAST_LANES if wide else 2 * LEAST_LANES}", *pair)
        for pair in zip(vectors[::2], vectors[1::2] or vectors, strict=True)
    ]
    halves = _with_zero(halves, zero)
    narrow = "packsswb" if dtype == "int8" else "packuswb"
    if wide and len(halves) == 1:
        halves, wide = [shuffle(halves, range(at, at + 2 * LEAST_LANES)) for at in (0, 2 * LEAST_LANES)], False
        return shuffle([_pack(narrow, f"{dtype}x16", *halves)], _in_order(2))
    made = _pack(narrow, f"{dtype}x{32 if wide else 16}", halves[0], halves[-1])
    return shuffle([made], _in_order(4)) if wide else made


def _with_zero(halves: list[Any], zero: Number) -> list[Any]:
    """Vectors of 16 bits, with the zero point added."""
    if is_known(zero) and not zero:
        return halves
    kind, add = str(halves[0].ty.dtype), f"llvm.sadd.sat.v{width_of(halves[0])}i16"
    return [call_llvm_pure_intrin(kind, add, half, lanes_with(zero, kind)) for half in halves]


def _narrowed_to_register(vectors: Sequence[Any], zero: Number, dtype: str) -> Any:
    """The same of two or four vectors of sixteen."""
    pairs = [vectors[at : at + 2] for at in range(0, len(vectors), 2)]
    halves = [call_llvm_pure_intrin("int16x32", "llvm.x86.avx512.packssdw.512", *pair) for pair in pairs]
    halves = _with_zero(halves, zero)
    narrow = "packsswb" if dtype == "int8" else "packuswb"
    if len(halves) == 1:
        quarters = [shuffle(halves, range(at, at + WIDEST)) for at in (0, WIDEST)]
        return shuffle([_pack(narrow, f"{dtype}x32", *quarters)], _PAIRS_IN_ORDER)
    made = call_llvm_pure_intrin(f"{dtype}x64", f"llvm.x86.avx512.{narrow}.512", *halves)
    return shuffle([made], _in_order(4, 4))


# Where the elements of two vectors of sixteen are: parts of four, by twos of the first one and of the second.
_PAIRS_IN_ORDER = [LEAST_LANES * part + at for part in (0, 4, 2, 6, 1, 5, 3, 7) for at in range(LEAST_LANES)]


def _in_order(vectors: int, parts: int = 2) -> list[int]:
    """Where the elements are of vectors whose parts of four were put together, first all first ones."""
    return [
        (part * vectors + vector) * LEAST_LANES + at
        for vector in range(vectors)
        for part in range(parts)
        for at in range(LEAST_LANES)
    ]


def _pack(name: str, dtype: str, first: Any, second: Any) -> Any:
    wide = f"llvm.x86.avx2.{name}"
    narrow = {"packssdw": "sse2.packssdw.128", "packsswb": "sse2.packsswb.128", "packuswb": "sse2.packuswb.128"}[name]
    bits = int(tvm_ffi.dtype(str(first.ty.dtype)).itemsize) * 8
    return call_llvm_pure_intrin(dtype, wide if bits == 256 else f"llvm.x86.{narrow}", first, second)


_ROUND = {LEAST_LANES: "sse2.cvtps2dq", 2 * LEAST_LANES: "avx.cvt.ps2dq.256"}
_MODE_OF_CPU = 4  # rounds as the CPU is set to, to even
