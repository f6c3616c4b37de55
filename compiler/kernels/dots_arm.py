"""Dot products of signed 8-bit integers as NEON has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from ..target import Target
from .llvm_code import BYTES
from .vectors import shuffle
from .weight_limit import MOST_OF_MAGNITUDES, WeightLimit

MACHINES = ("aarch64", "armv7l")
_STEP = 4  # words of a vector


def sums_partially(target: Target) -> bool:
    """Whether products of 8-bit integers are best summed to four partial sums (partial_sums.py)."""
    return target.machine in MACHINES and not target.has("dotprod")


def multiplies_matrices(target: Target) -> bool:
    """Whether there is an instruction for products of 2x8 by 8x2 signed 8-bit integers."""
    return target.machine in MACHINES and target.has("i8mm")


def weight_limit(target: Target) -> WeightLimit | None:
    """What weights keep to for four of their products with signed data to have a sum of 16 bits, and three of a
    filter's; None if there is an instruction for dot products."""
    return WeightLimit(neighbours=0, most=MOST_OF_MAGNITUDES, runs=3) if sums_partially(target) else None


def instruction(target: Target, kind: str, lanes: int) -> Callable[[Any, Any, Any], Any] | None:
    """What adds dot products of data's and weights' words, so many lanes of int32, to sums; None if nothing does."""
    if kind in ("int8_partial", "int8_twice") and lanes == _STEP and target.machine == "aarch64":
        return _add_bytes
    if kind == "int8_twice" and lanes == _STEP:
        return lambda sums, *vectors: _pairwise(sums, _in_16_bits(*vectors[:2]) + _in_16_bits(*vectors[2:]), target)
    if kind.startswith("int8_partial") and lanes == _STEP:
        return lambda sums, x, w: _add_partial(sums, x, w, kind == "int8_partial", target)
    if kind != "int8" or not target.has("dotprod") or lanes not in (2, _STEP):
        return None
    words, name = f"int8x{4 * lanes}", f"llvm.aarch64.neon.sdot.v{lanes}i32.v{4 * lanes}i8"
    return lambda sums, x, w: tirx.call_llvm_pure_intrin(
        f"int32x{lanes}", name, sums, tirx.reinterpret(words, w), tirx.reinterpret(words, x)
    )


def add_matrices(sums: Any, rows: Any, columns: Any) -> Any:
    """Adds to four int32 [row, column] the products of two rows of 8 signed bytes by two columns (`smmla`).

    Args:
        rows, columns: of the 16 bytes, one after the other, in vectors of any type.
    """
    operands = (tirx.reinterpret("int8x16", value) for value in (rows, columns))
    return tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.smmla.v4i32.v16i8", sums, *operands)


def _add_bytes(sums: Any, *vectors: Any) -> Any:
    """Adds the products of one or two vectors of 16 bytes, that fit 16 bits together."""
    name, begins = f"{BYTES}{len(vectors) // 2}", isinstance(sums, tirx.Broadcast)
    return tirx.call_pure_extern("int32x4", f"{name}_first" if begins else name, *([] if begins else [sums]), *vectors)


def _add_partial(sums: Any, x: Any, w: Any, pairs: bool, target: Target) -> Any:
    """Adds the products of 16 bytes; `pairs` if two fit 16 bits together."""
    if pairs:
        return _pairwise(sums, _in_16_bits(x, w), target)
    for product in _products(x, w):
        sums = _pairwise(sums, product, target)
    return sums


def _in_16_bits(x: Any, w: Any) -> Any:
    first, second = _products(x, w)
    return first + second


def _products(x: Any, w: Any) -> list[Any]:
    """Those of the first halves of two vectors of bytes, and of the second ones."""
    x, w = (tirx.reinterpret("int8x16", value) for value in (x, w))
    products = []
    for begin in (0, 8):
        halves = [tirx.Cast("int16x8", shuffle([value], range(begin, begin + 8))) for value in (x, w)]
        products.append(halves[0] * halves[1])
    return products


def _pairwise(sums: Any, product: Any, target: Target) -> Any:
    """Sums with neighbours of a vector of 16 bits added."""
    if target.machine == "aarch64":
        return sums + tirx.call_llvm_pure_intrin("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", product)
    return tirx.call_llvm_pure_intrin("int32x4", "llvm.arm.neon.vpadals.v4i32.v8i16", sums, product)


def sum_across(load: Any, begin: Any, lanes: int, target: Target) -> Any:
    """The sums of `lanes` runs of four int32 of a buffer, one after the other from `begin` on."""
    dtype = str(begin.ty.dtype)
    ramps = [tirx.Ramp(begin + tirx.const(4 * run, dtype), tirx.const(1, dtype), 4) for run in range(lanes)]
    runs = [tirx.BufferLoad(load.source, [*load.indices[:-1], ramp]) for ramp in ramps]
    runs += runs[-1:] * (-lanes % 4)
    wholes = [_sum_four(runs[at : at + 4], target) for at in range(0, len(runs), 4)]
    return wholes[0] if lanes == 4 else shuffle(wholes, range(lanes))


def _sum_four(runs: list[Any], target: Target) -> Any:
    if target.machine == "aarch64":
        return _by_pairs("int32x4", "llvm.aarch64.neon.addp.v4i32", runs)
    halves = [
        _by_pairs("int32x2", "llvm.arm.neon.vpadd.v2i32", [shuffle([run], at) for at in ((0, 1), (2, 3))])
        for run in runs
    ]
    return shuffle([_by_pairs("int32x2", "llvm.arm.neon.vpadd.v2i32", halves[at : at + 2]) for at in (0, 2)], range(4))


def _by_pairs(dtype: str, name: str, vectors: list[Any]) -> Any:
    """Neighbours added until one vector is left."""
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [tirx.call_llvm_pure_intrin(dtype, name, a, b) for a, b in pairs]
    return vectors[0]
