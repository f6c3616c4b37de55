"""8-bit integers of vectors of four floats, in NEON's instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx
from tvm.tirx import call_llvm_pure_intrin

from .formulas import WHOLE
from .lowering import width_of
from .pieces import LEAST_LANES, joined, piece
from .quantised_step import LIMITS, Step
from .scalars import is_known, lanes_with, minus
from .vectors import shuffle

_NARROW = 8  # lanes of 16 bits

# Vectors of four floats, what to make of them and its type: the integers in vectors of eight, the last of which may
# have four to spare.
Forms = Callable[[Sequence[Any], Step, str], list[Any]]


def by_fours(cast: Any, step: Step, forms: Forms) -> Any:
    """The integers of a vector."""
    dtype, lanes = str(cast.ty.dtype).partition("x")[0], width_of(cast)
    parts = [piece(step.value, begin, LEAST_LANES) for begin in range(0, lanes, LEAST_LANES)]
    return joined(forms(parts, step, dtype), lanes)


def a64(parts: Sequence[Any], step: Step, dtype: str) -> list[Any]:
    """Rounds and saturates; the bounds of a clamp before that come last."""
    whole = [call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.fcvtns.v4i32.v4f32", part) for part in parts]
    halves = [call_llvm_pure_intrin("int16x4", "llvm.aarch64.neon.sqxtn.v4i16", part) for part in whole]
    narrow = "llvm.aarch64.neon." + ("sqxtn" if dtype == "int8" else "sqxtun") + ".v8i8"
    results = []
    for pair in _pairs(halves):
        if not is_known(step.zero) or step.zero:
            pair = call_llvm_pure_intrin("int16x8", "llvm.sadd.sat.v8i16", pair, lanes_with(step.zero, "int16x8"))
        results.append(call_llvm_pure_intrin(f"{dtype}x8", narrow, pair))
    low, high = LIMITS[dtype]
    if not is_known(step.low) or step.low > low:
        results = [tirx.Max(r, lanes_with(step.low, f"{dtype}x8")) for r in results]
    if not is_known(step.high) or step.high < high:
        results = [tirx.Min(r, lanes_with(step.high, f"{dtype}x8")) for r in results]
    return results


def a32(parts: Sequence[Any], step: Step, dtype: str) -> list[Any]:
    """Clamps first, as nothing rounds: the integer is in the lowest bits of a number that is 1.5 * 2^23 more."""
    limits = [lanes_with(minus(bound, step.zero), "float32x4") for bound in (step.low, step.high)]
    low, high = ("llvm.arm.neon.vmaxs.v4f32", limits[0]), ("llvm.arm.neon.vmins.v4f32", limits[1])
    for name, limit in (low, high):
        parts = [call_llvm_pure_intrin("float32x4", name, part, limit) for part in parts]
    shifted = [part + tirx.const(WHOLE, "float32x4") for part in parts]
    halves = [tirx.Cast("int16x4", tirx.reinterpret("int32x4", part)) for part in shifted]
    results = [tirx.Cast("int8x8", pair) for pair in _pairs(halves)]
    if not is_known(step.zero) or step.zero:
        zero = (step.zero + 128) % 256 - 128 if is_known(step.zero) else tirx.Cast("int32", step.zero)
        results = [result + lanes_with(zero, "int8x8") for result in results]
    return [tirx.reinterpret(f"{dtype}x8", result) for result in results]


def _pairs(halves: Sequence[Any]) -> list[Any]:
    return [shuffle([a, b], range(_NARROW)) for a, b in zip(halves[::2], [*halves[1::2], halves[-1]], strict=False)]
