"""Dot products of signed 8-bit integers as NEON has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from ..target import Target


def instruction(target: Target, lanes: int) -> Callable[[Any, Any, Any], Any] | None:
    """What adds dot products of words of data and of weights, so many lanes of int32, to sums; None if nothing does."""
    if not target.has("dotprod") or lanes not in (2, 4):
        return None
    words, name = f"int8x{4 * lanes}", f"llvm.aarch64.neon.sdot.v{lanes}i32.v{4 * lanes}i8"
    return lambda sums, x, w: tirx.call_llvm_pure_intrin(
        f"int32x{lanes}", name, sums, tirx.reinterpret(words, w), tirx.reinterpret(words, x)
    )
