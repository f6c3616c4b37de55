"""Floats to 8-bit integers, as QuantizeLinear has it, in few instructions.

Written out it is round (ties to even), add the zero point, clamp, convert. Where a vector of floats becomes
integers first, these are narrowed with saturation, which is the clamp, and the zero point is added to 16 bits, to
twice as many elements at once. A clamp before the rounding, as of a Relu, is one of the integers too, since both
grow together. Other machines clamp the floats, to whole numbers, and find the integer in the lowest bits of a sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm_ffi
from tvm import ir, tirx

from ..target import Target
from .lowering import node_pass, program_pass, width_of
from .vectors import shuffle

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
_LANES = 4  # of a NEON register of 32 bits an element
_NARROW = 8  # lanes of 16 bits
_FAR = 1 << 14  # beyond this, and a zero point, all bounds are the type's


@dataclass(frozen=True)
class _Step:
    """clamp(round(value) + zero, low, high), in integers."""

    value: Any
    zero: int
    low: int
    high: int


def requantise(target: Target) -> Any:
    """The pass that does so in stores of vectors; after loops have become vectors, before TVM lowers intrinsics."""
    forms = {"aarch64": _a64, "armv7l": _a32}.get(target.machine)
    if forms is None:
        multiply_adds = target.machine == "x86_64" and target.has("fma")
        return node_pass(tirx.Cast, lambda cast: _by_sum(cast, multiply_adds))

    def on_store(store: Any) -> Any:
        lanes = width_of(store.value)
        if lanes <= _LANES // 2 or lanes & lanes - 1:
            return store
        value = tvm_ffi.structural_map(store.value, [(tirx.Cast, lambda cast: _replaced(cast, forms))])
        return tirx.BufferStore(store.buffer, value, store.indices)

    def lower(func: Any) -> Any:
        return func.with_body(tvm_ffi.structural_map(func.body, [(tirx.BufferStore, on_store)]))

    return program_pass(lower)


def _replaced(cast: Any, forms: _Forms) -> Any:
    step = _step(cast)
    if step is None:
        return cast
    dtype, lanes = str(cast.ty.dtype).partition("x")[0], width_of(cast)
    parts = [piece(step.value, begin, _LANES) for begin in range(0, lanes, _LANES)]
    return _joined(forms(parts, step, dtype), lanes)


# Vectors of four floats, what to make of them and its type: the integers in vectors of eight, the last of which may
# have four to spare.
_Forms = Callable[[Sequence[Any], _Step, str], list[Any]]


def _step(cast: Any) -> _Step | None:
    dtype = str(cast.ty.dtype).partition("x")[0]
    if dtype not in _LIMITS or not str(cast.value.ty.dtype).startswith("float32x") or width_of(cast) % _LANES:
        return None
    low, high = _LIMITS[dtype]
    value = cast.value
    if not isinstance(value, tirx.Max) or _number(value.b) != low:
        return None
    value = value.a
    if not isinstance(value, tirx.Min) or _number(value.b) != high:
        return None
    value, zero = value.a, 0.0
    if isinstance(value, tirx.Add) and (added := _number(value.b)) is not None:
        value, zero = value.a, added
    if not isinstance(value, ir.Call) or value.op.name != "tirx.nearbyint" or not -_FAR < zero < _FAR or zero % 1:
        return None
    value, low, high = _unclamped(value.args[0], low, high, int(zero))
    return _Step(value, int(zero), low, high)


def _unclamped(value: Any, low: int, high: int, zero: int) -> tuple[Any, int, int]:
    """A value without the clamps that come before its rounding, and the bounds with them."""
    while (found := _bound(value)) is not None:
        value, limit = found[0], found[1]
        bound = round(max(-_FAR, min(limit, _FAR))) + zero  # to even, as the value's
        bound = max(low, min(bound, high))
        low, high = (bound, high) if found[2] is tirx.Max else (low, bound)
    return value, low, high


def _bound(value: Any) -> tuple[Any, float, type] | None:
    """What a value clamps, by which number, and how, with a positive factor inside of the clamp."""
    if isinstance(value, (tirx.Max, tirx.Min)):
        limit = _number(value.b)
        return None if limit is None else (value.a, limit, type(value))
    if not isinstance(value, (tirx.Mul, tirx.Div)):
        return None
    factor, inner = _number(value.b), _bound(value.a)
    if factor is None or not 0 < factor < math.inf or inner is None:
        return None
    limit = np.float32(inner[1])
    limit = limit * np.float32(factor) if isinstance(value, tirx.Mul) else limit / np.float32(factor)
    return None if np.isnan(limit) else (type(value)(inner[0], value.b), float(limit), inner[2])


def _number(expr: Any) -> float | None:
    """The constant that all lanes of a float32 have."""
    scalar = expr.value if isinstance(expr, tirx.Broadcast) else expr
    return float(scalar.value) if isinstance(scalar, tirx.FloatImm) else None


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
        return tirx.reinterpret(f"{dtype}x{lanes}", shuffle([tirx.reinterpret("int32x2", vectors[0])], [0]))
    return shuffle(vectors, range(lanes))


def _a64(parts: Sequence[Any], step: _Step, dtype: str) -> list[Any]:
    """Rounds and saturates; the bounds of a clamp before that come last."""
    whole = [_call("int32x4", "llvm.aarch64.neon.fcvtns.v4i32.v4f32", part) for part in parts]
    halves = [_call("int16x4", "llvm.aarch64.neon.sqxtn.v4i16", part) for part in whole]
    narrow = "llvm.aarch64.neon." + ("sqxtn" if dtype == "int8" else "sqxtun") + ".v8i8"
    results = []
    for pair in _pairs(halves):
        if step.zero:
            pair = _call("int16x8", "llvm.sadd.sat.v8i16", pair, tirx.const(step.zero, "int16x8"))
        results.append(_call(f"{dtype}x8", narrow, pair))
    low, high = _LIMITS[dtype]
    results = [tirx.Max(r, tirx.const(step.low, f"{dtype}x8")) for r in results] if step.low > low else results
    return [tirx.Min(r, tirx.const(step.high, f"{dtype}x8")) for r in results] if step.high < high else results


def _a32(parts: Sequence[Any], step: _Step, dtype: str) -> list[Any]:
    """Clamps first, as nothing rounds: the integer is in the lowest bits of a number that is 1.5 * 2^23 more."""
    limits = [tirx.const(float(bound - step.zero), "float32x4") for bound in (step.low, step.high)]
    low, high = ("llvm.arm.neon.vmaxs.v4f32", limits[0]), ("llvm.arm.neon.vmins.v4f32", limits[1])
    for name, limit in (low, high):
        parts = [_call("float32x4", name, part, limit) for part in parts]
    shifted = [part + tirx.const(1.5 * 2**23, "float32x4") for part in parts]
    halves = [tirx.Cast("int16x4", tirx.reinterpret("int32x4", part)) for part in shifted]
    zero = tirx.const((step.zero + 128) % 256 - 128, "int8x8")
    results = [tirx.Cast("int8x8", pair) for pair in _pairs(halves)]
    results = [result + zero if step.zero else result for result in results]
    return [tirx.reinterpret(f"{dtype}x8", result) for result in results]


def _by_sum(cast: Any, multiply_adds: bool) -> Any:
    """Like `_a32` with the zero point in the sum, unless it is odd, which would turn ties to the odd number."""
    step = _step(cast)
    if step is None:
        return cast
    dtype, odd = f"float32x{width_of(cast)}", step.zero % 2
    shift = tirx.const(1.5 * 2**23 + step.zero - odd, dtype)
    low, high = step.low - step.zero, step.high - step.zero
    divisor = _number(step.value.b) if isinstance(step.value, tirx.Div) and multiply_adds else None
    if divisor is not None and 2.0**-96 < divisor < 2.0**96:
        value = _quotient(step.value.a, divisor, low, high)
    else:
        value = tirx.Max(tirx.Min(step.value, tirx.const(float(high), dtype)), tirx.const(float(low), dtype))
    bits = tirx.reinterpret(dtype.replace("float", "int"), value + shift)
    return tirx.Cast(str(cast.ty.dtype), bits + tirx.const(1, str(bits.ty.dtype)) if odd else bits)


def _quotient(value: Any, divisor: float, low: int, high: int) -> Any:
    """value / divisor between two bounds, as exact as the division, which takes three times as long.

    The product with the reciprocal is put right by what it leaves of the value (Markstein, "Computation of elementary
    functions on the IBM RISC System/6000 processor", IBM Journal of Research and Development 34(1), 1990).
    """
    dtype = str(value.ty.dtype)
    reciprocal = tirx.const(float(np.float32(1 / divisor)), dtype)
    value = tirx.Max(tirx.Min(value, tirx.const(high * divisor, dtype)), tirx.const(low * divisor, dtype))
    dividend, quotient = tirx.Var("dividend", dtype), tirx.Var("quotient", dtype)
    rest = _call(dtype, "llvm.fma", quotient, tirx.const(-divisor, dtype), dividend)
    better = _call(dtype, "llvm.fma", rest, reciprocal, quotient)
    return tirx.Let(dividend, value, tirx.Let(quotient, dividend * reciprocal, better))


def _pairs(halves: Sequence[Any]) -> list[Any]:
    return [shuffle([a, b], range(_NARROW)) for a, b in zip(halves[::2], [*halves[1::2], halves[-1]], strict=False)]


def _call(dtype: str, name: str, *values: Any) -> Any:
    return tirx.call_llvm_pure_intrin(dtype, name, *values)
