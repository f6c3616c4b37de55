"""Floats to 8-bit integers, as QuantizeLinear has it, in few instructions.

Written out it is round (ties to even), add the zero point, clamp, convert. Where a vector of floats becomes
integers first, these are narrowed with saturation, which is the clamp, and the zero point is added to 16 bits, to
twice as many elements at once. A clamp before the rounding, as of a Relu, is one of the integers too, since both
grow together. Other machines clamp the floats, to whole numbers, and find the integer in the lowest bits of a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm_ffi
from tvm import ir, tirx

from ..target import Target
from .formulas import WHOLE
from .lowering import program_pass, width_of, with_body
from .quotients import multiplies_and_adds, quotient_of
from .scalars import (
    FAR,
    Fact,
    Number,
    facts_of,
    is_factor,
    is_known,
    lanes_with,
    larger,
    minus,
    number_of,
    plus,
    rounded,
    scalar,
    smaller,
    times,
)
from .short_math import is_short, shortened
from .vectors import shuffle

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
_LANES = 4  # of a NEON register of 32 bits an element
_NARROW = 8  # lanes of 16 bits
_WIDEST = 16  # lanes of 32 bits

Facts = Mapping[Any, Fact]


@dataclass(frozen=True)
class _Step:
    """clamp(round(value) + zero, low, high), in integers; constants or parameters of the kernel.

    Attributes:
        approximate: whether the value has some bits only, which the sum with the zero point may be rounded with.
    """

    value: Any
    zero: Number
    low: Number
    high: Number
    approximate: bool = False


def requantise(target: Target) -> Any:
    """The pass that does so in stores of vectors; after loops have become vectors, before TVM lowers intrinsics."""
    forms = {"aarch64": _a64, "armv7l": _a32}.get(target.machine)
    if forms is None:
        multiply_adds = target.machine == "x86_64" and multiplies_and_adds(target)
        lanes = _lanes_that_are_packed(target)
        saturates = target.machine == "x86_64" and target.simd_bits == 512

        def lower_alone(func: Any) -> Any:
            facts = facts_of(func)

            def on_cast(cast: Any) -> Any:
                if lanes:
                    return _by_packing(cast, facts, multiply_adds, lanes)
                if saturates and width_of(cast) % (4 * _WIDEST) == 0:
                    return _by_packing(cast, facts, multiply_adds, _WIDEST)
                narrowed = _by_saturation(cast, facts) if saturates else None
                return _by_sum(cast, facts, multiply_adds) if narrowed is None else narrowed

            return with_body(func, tvm_ffi.structural_map(func.body, [(tirx.Cast, on_cast)]))

        return program_pass(lower_alone)

    def lower(func: Any) -> Any:
        facts = facts_of(func)

        def on_store(store: Any) -> Any:
            lanes = width_of(store.value)
            if lanes <= _LANES // 2 or lanes & lanes - 1:
                return store
            value = tvm_ffi.structural_map(store.value, [(tirx.Cast, lambda cast: _replaced(cast, facts, forms))])
            return tirx.BufferStore(store.buffer, value, store.indices)

        return with_body(func, tvm_ffi.structural_map(func.body, [(tirx.BufferStore, on_store)]))

    return program_pass(lower)


def _replaced(cast: Any, facts: Facts, forms: _Forms) -> Any:
    step = _step(cast, facts)
    if step is None:
        return cast
    dtype, lanes = str(cast.ty.dtype).partition("x")[0], width_of(cast)
    parts = [piece(step.value, begin, _LANES) for begin in range(0, lanes, _LANES)]
    return _joined(forms(parts, step, dtype), lanes)


# Vectors of four floats, what to make of them and its type: the integers in vectors of eight, the last of which may
# have four to spare.
_Forms = Callable[[Sequence[Any], _Step, str], list[Any]]


def _step(cast: Any, facts: Facts) -> _Step | None:
    dtype = str(cast.ty.dtype).partition("x")[0]
    if dtype not in _LIMITS or not str(cast.value.ty.dtype).startswith("float32x") or width_of(cast) % _LANES:
        return None
    low, high = _LIMITS[dtype]
    value, zero = cast.value, _whole(0.0, facts)
    if not isinstance(value, tirx.Max) or number_of(value.b, facts) != low:
        return None
    value = value.a
    if not isinstance(value, tirx.Min) or number_of(value.b, facts) != high:
        return None
    value = value.a
    if isinstance(value, tirx.Add) and (added := number_of(value.b, facts)) is not None:
        value, zero = value.a, _whole(added, facts)
    if not isinstance(value, ir.Call) or value.op.name != "tirx.nearbyint" or zero is None:
        return None
    step = _unclamped(_Step(value.args[0], zero, low, high), facts)
    value = shortened(step.value, facts)
    return step if value is None else replace(step, value=value, approximate=True)


def _whole(number: Number, facts: Facts) -> Number | None:
    """A zero point, if a number can be one."""
    if isinstance(number, float):
        return int(number) if -FAR < number < FAR and not number % 1 else None
    return number if facts[number].whole else None


def _unclamped(step: _Step, facts: Facts) -> _Step:
    """Without the clamps of the value before its rounding, and the bounds with them."""
    while (found := _bound(step.value, facts)) is not None:
        value, limit, kind = found
        bound = plus(rounded(limit), step.zero)
        bound = larger(step.low, smaller(bound, step.high))
        low, high = (bound, step.high) if kind is tirx.Max else (step.low, bound)
        step = _Step(value, step.zero, low, high)
    return step


def _bound(value: Any, facts: Facts) -> tuple[Any, Number, type] | None:
    """What a value clamps, by which number, and how, with a positive factor inside of the clamp."""
    if isinstance(value, (tirx.Max, tirx.Min)):
        limit = number_of(value.b, facts)
        return None if limit is None else (value.a, limit, type(value))
    if not isinstance(value, (tirx.Mul, tirx.Div)):
        return None
    factor, inner = number_of(value.b, facts), _bound(value.a, facts)
    if factor is None or inner is None or not is_factor(factor, facts):
        return None
    limit = _scaled(inner[1], factor, type(value))
    return None if limit is None else (type(value)(inner[0], value.b), limit, inner[2])


def _scaled(limit: Number, factor: Number, kind: type) -> Number | None:
    """The product or quotient as float32 has it; None if it is not a number."""
    if isinstance(limit, float) and isinstance(factor, float):
        a, b = np.float32(limit), np.float32(factor)
        result = a * b if kind is tirx.Mul else a / b
        return None if np.isnan(result) else float(result)
    if isinstance(limit, float) and not limit:
        return limit  # as all factors are positive
    return kind(scalar(limit), scalar(factor))


def piece(expr: Any, begin: int, lanes: int) -> Any:
    """Some lanes of a vector, computed by themselves."""
    dtype = str(expr.ty.dtype)
    if width_of(expr) in (1, lanes):
        return expr
    if isinstance(expr, tirx.Ramp):
        start = tirx.const(begin, str(expr.base.ty.dtype)) * expr.stride
        return tirx.Ramp(expr.base + start, expr.stride, lanes)
    if isinstance(expr, tirx.Broadcast):
        return tirx.Broadcast(expr.value, lanes)
    if isinstance(expr, ir.TensorLoad) and any(width_of(index) > 1 for index in expr.indices):
        return tirx.BufferLoad(expr.source, [piece(index, begin, lanes) for index in expr.indices])
    if isinstance(expr, tirx.Cast):
        return tirx.Cast(f"{dtype.rpartition('x')[0]}x{lanes}", piece(expr.value, begin, lanes))
    if isinstance(expr, ir.Call) and is_short(expr):
        return ir.Call(expr.op, [piece(expr.args[0], begin, lanes)], ret_ty=ir.PrimType(f"float32x{lanes}"))
    if isinstance(expr, _TWO):
        return type(expr)(piece(expr.a, begin, lanes), piece(expr.b, begin, lanes))
    return shuffle([expr], range(begin, begin + lanes))


_TWO = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min)


def _joined(vectors: Sequence[Any], lanes: int) -> Any:
    """The first `lanes` lanes of vectors, one after the other."""
    if len(vectors) == 1 and width_of(vectors[0]) == lanes:
        return vectors[0]
    if len(vectors) == 1 and lanes == _LANES:  # taken as one number, which LLVM need not make of four
        dtype = str(vectors[0].ty.dtype).partition("x")[0]
        words = tirx.reinterpret(f"int32x{width_of(vectors[0]) // _LANES}", vectors[0])
        return tirx.reinterpret(f"{dtype}x{lanes}", shuffle([words], [0]))
    return shuffle(vectors, range(lanes))


def _a64(parts: Sequence[Any], step: _Step, dtype: str) -> list[Any]:
    """Rounds and saturates; the bounds of a clamp before that come last."""
    whole = [_call("int32x4", "llvm.aarch64.neon.fcvtns.v4i32.v4f32", part) for part in parts]
    halves = [_call("int16x4", "llvm.aarch64.neon.sqxtn.v4i16", part) for part in whole]
    narrow = "llvm.aarch64.neon." + ("sqxtn" if dtype == "int8" else "sqxtun") + ".v8i8"
    results = []
    for pair in _pairs(halves):
        if not is_known(step.zero) or step.zero:
            pair = _call("int16x8", "llvm.sadd.sat.v8i16", pair, lanes_with(step.zero, "int16x8"))
        results.append(_call(f"{dtype}x8", narrow, pair))
    low, high = _LIMITS[dtype]
    if not is_known(step.low) or step.low > low:
        results = [tirx.Max(r, lanes_with(step.low, f"{dtype}x8")) for r in results]
    if not is_known(step.high) or step.high < high:
        results = [tirx.Min(r, lanes_with(step.high, f"{dtype}x8")) for r in results]
    return results


def _a32(parts: Sequence[Any], step: _Step, dtype: str) -> list[Any]:
    """Clamps first, as nothing rounds: the integer is in the lowest bits of a number that is 1.5 * 2^23 more."""
    limits = [lanes_with(minus(bound, step.zero), "float32x4") for bound in (step.low, step.high)]
    low, high = ("llvm.arm.neon.vmaxs.v4f32", limits[0]), ("llvm.arm.neon.vmins.v4f32", limits[1])
    for name, limit in (low, high):
        parts = [_call("float32x4", name, part, limit) for part in parts]
    shifted = [part + tirx.const(WHOLE, "float32x4") for part in parts]
    halves = [tirx.Cast("int16x4", tirx.reinterpret("int32x4", part)) for part in shifted]
    results = [tirx.Cast("int8x8", pair) for pair in _pairs(halves)]
    if not is_known(step.zero) or step.zero:
        zero = (step.zero + 128) % 256 - 128 if is_known(step.zero) else tirx.Cast("int32", step.zero)
        results = [result + lanes_with(zero, "int8x8") for result in results]
    return [tirx.reinterpret(f"{dtype}x8", result) for result in results]


def _lanes_that_are_packed(target: Target) -> int:
    """Floats of a vector that instructions of x86 round to integers, and narrow with saturation; 0 for none.

    AVX-512 narrows each vector by itself (`_by_saturation`).
    """
    if target.machine != "x86_64" or target.simd_bits > 256 or not target.has("sse4.1"):
        return 0
    return 8 if target.has("avx2") else 4


def _by_packing(cast: Any, facts: Facts, multiply_adds: bool, lanes: int) -> Any:
    """Rounds as `cvtps2dq` does, which makes the least integer of what is too small for one: of the floats only the
    upper bound is needed."""
    step, whole = _step(cast, facts), width_of(cast)
    if step is None:
        return cast
    lanes = lanes if whole % lanes == 0 else _LANES
    value = _clamped(step, facts, multiply_adds, f"float32x{whole}", below=False)
    clamped = tirx.Var("clamped", str(value.ty.dtype))  # computed once, however many pieces are taken of it
    vectors = [_round(piece(clamped, begin, lanes)) for begin in range(0, whole, lanes)]
    together = next(count for count in (4, 2, 1) if len(vectors) % count == 0)
    dtype = str(cast.ty.dtype).partition("x")[0]
    groups = [vectors[at : at + together] for at in range(0, len(vectors), together)]
    result = _joined([_narrowed(group, step.zero, dtype) for group in groups], whole)
    if not is_known(step.low) or step.low > _LIMITS[dtype][0]:
        result = tirx.Max(result, lanes_with(step.low, str(result.ty.dtype)))
    return tirx.Let(clamped, value, result)


def _by_saturation(cast: Any, facts: Facts) -> Any:
    """Bytes without sign as AVX-512 narrows each vector, with saturation: of the floats only the lower bound is needed.

    What is too large for an integer rounds to -2^31, which is large without a sign. None for what is bounded above by
    less, or is a quotient, which is clamped before.
    """
    step, whole = _step(cast, facts), width_of(cast)
    if step is None or isinstance(step.value, tirx.Div) or not str(cast.ty.dtype).startswith("uint8"):
        return None
    if not is_known(step.high) or step.high < _LIMITS["uint8"][1] or not is_known(step.zero) or step.zero < 0:
        return None
    lanes = next(count for count in (4 * _LANES, 2 * _LANES, _LANES) if whole % count == 0)
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
        return _call(f"int32x{lanes}", f"llvm.x86.{_ROUND[lanes]}", part)
    given = tirx.const(0, f"int32x{lanes}"), tirx.const(-1, "int16"), tirx.const(_MODE_OF_CPU, "int32")
    return _call(f"int32x{lanes}", "llvm.x86.avx512.mask.cvtps2dq.512", part, *given)


def _narrowed(vectors: Sequence[Any], zero: Number, dtype: str) -> Any:
    """One, two or four vectors of int32 as one of bytes, with the zero point added on the way."""
    if width_of(vectors[0]) == _WIDEST:
        return _narrowed_to_register(vectors, zero, dtype)
    wide = width_of(vectors[0]) == 2 * _LANES
    if wide and len(vectors) == 1:
        vectors, wide = [shuffle(vectors, range(at, at + _LANES)) for at in (0, _LANES)], False
    halves = [
        _pack("packssdw", f"int16x{4 * _LANES if wide else 2 * _LANES}", *pair)
        for pair in zip(vectors[::2], vectors[1::2] or vectors, strict=True)
    ]
    if not is_known(zero) or zero:
        kind = str(halves[0].ty.dtype)
        halves = [_call(kind, f"llvm.sadd.sat.v{width_of(half)}i16", half, lanes_with(zero, kind)) for half in halves]
    narrow = "packsswb" if dtype == "int8" else "packuswb"
    if wide and len(halves) == 1:
        halves, wide = [shuffle(halves, range(at, at + 2 * _LANES)) for at in (0, 2 * _LANES)], False
        return shuffle([_pack(narrow, f"{dtype}x16", *halves)], _in_order(2))
    made = _pack(narrow, f"{dtype}x{32 if wide else 16}", halves[0], halves[-1])
    return shuffle([made], _in_order(4)) if wide else made


def _narrowed_to_register(vectors: Sequence[Any], zero: Number, dtype: str) -> Any:
    """The same of four vectors of sixteen."""
    halves = [_call("int16x32", "llvm.x86.avx512.packssdw.512", *pair) for pair in (vectors[:2], vectors[2:])]
    if not is_known(zero) or zero:
        halves = [_call("int16x32", "llvm.sadd.sat.v32i16", half, lanes_with(zero, "int16x32")) for half in halves]
    narrow = "packsswb" if dtype == "int8" else "packuswb"
    made = _call(f"{dtype}x64", f"llvm.x86.avx512.{narrow}.512", *halves)
    return shuffle([made], _in_order(4, 4))


def _in_order(vectors: int, parts: int = 2) -> list[int]:
    """Where the elements are of vectors whose parts of four were put together, first all first ones."""
    return [
        (part * vectors + vector) * _LANES + at
        for vector in range(vectors)
        for part in range(parts)
        for at in range(_LANES)
    ]


def _pack(name: str, dtype: str, first: Any, second: Any) -> Any:
    wide = f"llvm.x86.avx2.{name}"
    narrow = {"packssdw": "sse2.packssdw.128", "packsswb": "sse2.packsswb.128", "packuswb": "sse2.packuswb.128"}[name]
    bits = int(tvm_ffi.dtype(str(first.ty.dtype)).itemsize) * 8
    return _call(dtype, wide if bits == 256 else f"llvm.x86.{narrow}", first, second)


_ROUND = {_LANES: "sse2.cvtps2dq", 2 * _LANES: "avx.cvt.ps2dq.256"}
_MODE_OF_CPU = 4  # rounds as the CPU is set to, to even


def _by_sum(cast: Any, facts: Facts, multiply_adds: bool) -> Any:
    """Like `_a32`; a constant zero point is in the sum, unless it is odd, which would turn ties to the odd number."""
    step = _step(cast, facts)
    if step is None:
        return cast
    dtype = f"float32x{width_of(cast)}"
    if step.approximate:
        shift = plus(step.zero, WHOLE)
        low, high = (lanes_with(plus(bound, WHOLE), dtype) for bound in (step.low, step.high))
        found = tirx.Max(tirx.Min(step.value + lanes_with(shift, dtype), high), low)
        return tirx.Cast(str(cast.ty.dtype), tirx.reinterpret(dtype.replace("float", "int"), found))
    even = step.zero - step.zero % 2 if is_known(step.zero) else 0
    shift, rest = tirx.const(WHOLE + even, dtype), minus(step.zero, even)
    bits = tirx.reinterpret(dtype.replace("float", "int"), _clamped(step, facts, multiply_adds, dtype) + shift)
    added = not is_known(rest) or rest
    return tirx.Cast(str(cast.ty.dtype), bits + lanes_with(rest, str(bits.ty.dtype)) if added else bits)


def _clamped(step: _Step, facts: Facts, multiply_adds: bool, dtype: str, below: bool = True) -> Any:
    """The floats between the bounds, or if not `below` them above no more than that."""
    low, high = minus(step.low, step.zero), minus(step.high, step.zero)
    divisor = number_of(step.value.b, facts) if isinstance(step.value, tirx.Div) and multiply_adds else None
    if divisor is not None and is_factor(divisor, facts):
        most, least = (lanes_with(times(bound, divisor), dtype) for bound in (high, low))
        return quotient_of(tirx.Max(tirx.Min(step.value.a, most), least), divisor)
    value = tirx.Min(step.value, lanes_with(high, dtype))
    return tirx.Max(value, lanes_with(low, dtype)) if below else value


def _pairs(halves: Sequence[Any]) -> list[Any]:
    return [shuffle([a, b], range(_NARROW)) for a, b in zip(halves[::2], [*halves[1::2], halves[-1]], strict=False)]


def _call(dtype: str, name: str, *values: Any) -> Any:
    return tirx.call_llvm_pure_intrin(dtype, name, *values)
