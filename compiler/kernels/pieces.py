"""Parts of vectors that are computed by themselves, and vectors of parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import ir, tirx

from .lowering import width_of
from .short_math import is_short
from .vectors import shuffle

LEAST_LANES = 4  # of a register, of 32 bits each


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


def joined(vectors: Sequence[Any], lanes: int) -> Any:
    """The first `lanes` lanes of vectors, one after the other."""
    if len(vectors) == 1 and width_of(vectors[0]) == lanes:
        return vectors[0]
    if len(vectors) == 1 and lanes == LEAST_LANES:  # taken as one number, which LLVM need not make of four
        dtype = str(vectors[0].ty.dtype).partition("x")[0]
        words = tirx.reinterpret(f"int32x{width_of(vectors[0]) // LEAST_LANES}", vectors[0])
        return tirx.reinterpret(f"{dtype}x{lanes}", shuffle([words], [0]))
    return shuffle(vectors, range(lanes))
