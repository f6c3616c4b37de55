"""Floats to 8-bit integers, as QuantizeLinear has it, in few instructions.

Written out it is round (ties to even), add the zero point, clamp, convert. Where a vector of floats becomes
integers first, these are narrowed with saturation, which is the clamp, and the zero point is added to 16 bits, to
twice as many elements at once. Other machines clamp the floats, to whole numbers, and find the integer in the lowest
bits of a sum.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx

from ..target import Target
from .bounds import bounds_of, magnitude
from .formulas import WHOLE
from .lowering import program_pass, width_of, with_body
from .pieces import LEAST_LANES
from .quantised_step import Facts, Step, between_bounds, step_of
from .quotients import multiplies_and_adds
from .requantise_arm import a32, a64, by_fours
from .requantise_x86 import WIDEST, by_packing, by_saturation, lanes_that_are_packed
from .scalars import facts_of, is_known, lanes_with, minus, plus

_LARGEST_INTEGER = 2.0**31 - 2.0**8  # for which rounding errors leave room


def requantise(target: Target) -> Any:
    """The pass that does so in stores of vectors; after loops have become vectors, before TVM lowers intrinsics."""
    forms = {"aarch64": a64, "armv7l": a32}.get(target.machine)
    if forms is None:
        multiply_adds = target.machine == "x86_64" and multiplies_and_adds(target)
        lanes = lanes_that_are_packed(target)
        saturates = target.machine == "x86_64" and target.simd_bits == 512

        def lower_alone(func: Any) -> Any:
            facts = facts_of(func)
            bounds = bounds_of(func, facts)

            def on_cast(cast: Any) -> Any:
                step = step_of(cast, facts)
                if step is None:
                    return cast
                fits = magnitude(step.value, bounds) < _LARGEST_INTEGER
                if lanes:
                    return by_packing(cast, step, facts, multiply_adds, lanes, fits)
                if saturates and width_of(cast) % ((2 if fits else 4) * WIDEST) == 0:
                    return by_packing(cast, step, facts, multiply_adds, WIDEST, fits)
                narrowed = by_saturation(cast, step) if saturates else None
                return _by_sum(cast, step, facts, multiply_adds) if narrowed is None else narrowed

            return with_body(func, tvm_ffi.structural_map(func.body, [(tirx.Cast, on_cast)]))

        return program_pass(lower_alone)

    def lower(func: Any) -> Any:
        facts = facts_of(func)

        def on_cast(cast: Any) -> Any:
            step = step_of(cast, facts)
            return cast if step is None else by_fours(cast, step, forms)

        def on_store(store: Any) -> Any:
            lanes = width_of(store.value)
            if lanes < LEAST_LANES or lanes & lanes - 1:
                return store
            value = tvm_ffi.structural_map(store.value, [(tirx.Cast, on_cast)])
            return tirx.BufferStore(store.buffer, value, store.indices)

        return with_body(func, tvm_ffi.structural_map(func.body, [(tirx.BufferStore, on_store)]))

    return program_pass(lower)


def _by_sum(cast: Any, step: Step, facts: Facts, multiply_adds: bool) -> Any:
    """Like `a32`; a constant zero point is in the sum, unless it is odd, which would turn ties to the odd number."""
    dtype = f"float32x{width_of(cast)}"
    if step.approximate:
        shift = plus(step.zero, WHOLE)
        low, high = (lanes_with(plus(bound, WHOLE), dtype) for bound in (step.low, step.high))
        found = tirx.Max(tirx.Min(step.value + lanes_with(shift, dtype), high), low)
        return tirx.Cast(str(cast.ty.dtype), tirx.reinterpret(dtype.replace("float", "int"), found))
    even = step.zero - step.zero % 2 if is_known(step.zero) else 0
    shift, rest = tirx.const(WHOLE + even, dtype), minus(step.zero, even)
    bits = tirx.reinterpret(dtype.replace("float", "int"), between_bounds(step, facts, multiply_adds, dtype) + shift)
    added = not is_known(rest) or rest
    return tirx.Cast(str(cast.ty.dtype), bits + lanes_with(rest, str(bits.ty.dtype)) if added else bits)
