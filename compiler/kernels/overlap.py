"""Tiles that do not divide an axis: the last one begins earlier and overlaps the one before it.

Its elements are computed twice, to the same values; in return no tile needs a bounds check, which would keep
its sums out of vector registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import s_tir, sym, tirx

from .analysis import uses
from .marks import rewrite_marked

_KEY = "edgec.overlap"


def split_overlapping(sch: Any, loop: Any, size: int, extent: int) -> tuple[Any, Any]:
    """Splits a loop over `extent` into tiles of `size`, at most `extent`; `overlap_tiles` has to follow.

    The outer loop must be neither fused nor split further.
    """
    outer, inner = sch.split(loop, [None, size])
    if extent % size:
        sch.annotate(outer, _KEY, [size, extent - size])
    return outer, inner


def overlap_tiles(func: Any) -> Any:
    """Moves the last tile of every annotated loop to where it ends with its axis."""
    return rewrite_marked(func, _KEY, _overlapping)


def _overlapping(loop: Any, sizes: Sequence[Any]) -> Any:
    """The loop's body where its last tile begins early."""
    size, last = map(int, sizes)
    var = loop.loop_var
    dtype = str(var.ty.dtype)
    begin = tirx.Min(var * tirx.IntImm(dtype, size), tirx.IntImm(dtype, last))

    def on_realize(realize: Any) -> Any:
        values = [_shifted(value, var, size, begin) for value in realize.iter_values]
        return s_tir.SBlockRealize(values, without(realize.predicate, var), realize.block)

    return tvm_ffi.structural_map(loop.body, [(s_tir.SBlockRealize, on_realize)])


def _shifted(value: Any, var: Any, size: int, begin: Any) -> Any:
    if not uses(value, var):
        return value
    coefficients = sym.detect_linear_equation(value, [var])
    if len(coefficients) != 2 or not isinstance(coefficients[0], tirx.IntImm) or coefficients[0].value % size:
        raise ValueError("an overlapping tile does not move by its own size")
    stride = int(coefficients[0].value) // size  # of what the tile reads
    return begin * tirx.IntImm(str(begin.ty.dtype), stride) + coefficients[1]


def without(predicate: Any, var: Any) -> Any:
    """The conjunction's parts that do not depend on `var`; those that do are the bounds checks."""
    if isinstance(predicate, tirx.And):
        a, b = without(predicate.a, var), without(predicate.b, var)
        return b if _true(a) else a if _true(b) else tirx.And(a, b)
    return tirx.IntImm("bool", 1) if uses(predicate, var) else predicate


def _true(expr: Any) -> bool:
    return isinstance(expr, tirx.IntImm) and bool(expr.value)
