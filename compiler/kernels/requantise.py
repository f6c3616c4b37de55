"""Floats to 8-bit integers, as QuantizeLinear has it, in few instructions.

Written out it is round (ties to even), add the zero point, clamp, convert. Where a vector of floats becomes
integers first, these are narrowed with saturation, which is the clamp, and the zero point is added to 16 bits, to
twice as many elements at once. A clamp before the rounding, as of a Relu, is one of the integers too, since both
grow together. Other machines clamp the floats, to whole numbers, and find the integer in the lowest bits of a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm_ffi
from tvm import ir, tirx

from ..target import Target
from .lowering import program_pass, width_of
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
from .vectors import shuffle

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
_LANES = 4  # of a NEON register of 32 bits an element
_NARROW = 8  # lanes of 16 bits

Facts = Mapping[Any, Fact]


@dataclass(frozen=True)
class _Step:
    """clamp(round(value) + zero, low, high), in integers; constants or parameters of the kernel."""

    value: Any
    zero: Number
    low: Number
    high: Number


def requantise(target: Target) -> Any:
    """The pass that does so in stores of vectors; after loops have become vectors, before TVM lowers intrinsics."""
    forms = {"aarch64": _a64, "armv7l": _a32}.get(target.machine)
    if forms is None:
        multiply_adds = target.machine == "x86_64" and target.has("fma")

        def lower_by_sum(func: Any) -> Any:
            facts = facts_of(func)
            return func.with_body(
                tvm_ffi.structural_map(func.body, [(tirx.Cast, lambda cast: _by_sum(cast, facts, multiply_adds))])
            )

        return program_pass(lower_by_sum)

    def lower(func: Any) -> Any:
        facts = facts_of(func)

        def on_store(store: Any) -> Any:
            lanes = width_of(store.value)
            if lanes <= _LANES // 2 or lanes & lanes - 1:
                return store
            value = tvm_ffi.structural_map(store.value, [(tirx.Cast, lambda cast: _replaced(cast, facts, forms))])
            return tirx.BufferStore(store.buffer, value, store.indices)

        return func.with_body(tvm_ffi.structural_map(func.body, [(tirx.BufferStore, on_store)]))

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
    return _unclamped(_Step(value.args[0], zero, low, high), facts)


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
    if isinstance(expr, _TWO):
        return type(expr)(piece(expr.a, begin, lanes), piece(expr.b, begin, lanes))
    return shuffle([expr], range(begin, begin + lanes))


_TWO = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min)


def _joined(vectors: Sequence[Any], lanes: int) -> Any:
    """The first `lanes` lanes of vectors, one after the other."""
    if len(vectors) == 1 and width_of(vectors[0]) == lanes:
        return vectors[0]
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
    shifted = [part + tirx.const(1.5 * 2**23, "float32x4") for part in parts]
    halves = [tirx.Cast("int16x4", tirx.reinterpret("int32x4", part)) for part in shifted]
    results = [tirx.Cast("int8x8", pair) for pair in _pairs(halves)]
    if not is_known(step.zero) or step.zero:
        zero = (step.zero + 128) % 256 - 128 if is_known(step.zero) else tirx.Cast("int32", step.zero)
        results = [result + lanes_with(zero, "int8x8") for result in results]
    return [tirx.reinterpret(f"{dtype}x8", result) for result in results]


def _by_sum(cast: Any, facts: Facts, multiply_adds: bool) -> Any:
    """Like `_a32`; a constant zero point is in the sum, unless it is odd, which would turn ties to the odd number."""
    step = _step(cast, facts)
    if step is None:
        return cast
    dtype = f"float32x{width_of(cast)}"
    even = step.zero - step.zero % 2 if is_known(step.zero) else 0
    shift, rest = tirx.const(1.5 * 2**23 + even, dtype), minus(step.zero, even)
    low, high = minus(step.low, step.zero), minus(step.high, step.zero)
    divisor = number_of(step.value.b, facts) if isinstance(step.value, tirx.Div) and multiply_adds else None
    if divisor is not None and is_factor(divisor, facts):
        value = _quotient(step.value.a, divisor, low, high)
    else:
        value = tirx.Max(tirx.Min(step.value, lanes_with(high, dtype)), lanes_with(low, dtype))
    bits = tirx.reinterpret(dtype.replace("float", "int"), value + shift)
    added = not is_known(rest) or rest
    return tirx.Cast(str(cast.ty.dtype), bits + lanes_with(rest, str(bits.ty.dtype)) if added else bits)


def _quotient(value: Any, divisor: Number, low: Number, high: Number) -> Any:
    """value / divisor between two bounds, as exact as the division, which takes three times as long.

    The product with the reciprocal is put right by what it leaves of the value (Markstein, "Computation of elementary
    functions on the IBM RISC System/6000 processor", IBM Journal of Research and Development 34(1), 1990).
    """
    dtype = str(value.ty.dtype)
    reciprocal = float(np.float32(1 / divisor)) if is_known(divisor) else scalar(1) / divisor
    least, most = (lanes_with(times(bound, divisor), dtype) for bound in (low, high))
    value = tirx.Max(tirx.Min(value, most), least)
    dividend, quotient = tirx.Var("dividend", dtype), tirx.Var("quotient", dtype)
    rest = _call(dtype, "llvm.fma", quotient, lanes_with(times(divisor, -1), dtype), dividend)
    better = _call(dtype, "llvm.fma", rest, lanes_with(reciprocal, dtype), quotient)
    return tirx.Let(dividend, value, tirx.Let(quotient, dividend * lanes_with(reciprocal, dtype), better))


def _pairs(halves: Sequence[Any]) -> list[Any]:
    return [shuffle([a, b], range(_NARROW)) for a, b in zip(halves[::2], [*halves[1::2], halves[-1]], strict=False)]


def _call(dtype: str, name: str, *values: Any) -> Any:
    return tirx.call_llvm_pure_intrin(dtype, name, *values)
