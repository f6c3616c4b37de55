"""Reductions over several neighbouring axes as over one, whose elements lie one after the other in memory.

Few long rows are reduced in parts, and the parts then: threads share them, and sums lose fewer digits.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax, te, tirx, topi

_TASKS = 16  # that threads can share
_LONG = 1 << 15  # elements from which they gain by it


def _reduction(name: str, combine: Any) -> Any:
    from_tvm = tvm.ir.Op.get(name).get_attr("FLegalize")
    hint = name.removeprefix("relax.")

    def finish(reduced: Any, terms: int) -> Any:
        return reduced if name != "relax.mean" else topi.divide(reduced, tirx.const(terms, reduced.dtype))

    def in_parts(values: Any, split: list[int]) -> Any:
        rows, parts, size = map(int, split)
        term = te.reduce_axis((0, size), "term")

        def element(row: Any, part: Any) -> Any:
            place: list[Any] = []
            rest = (row * parts + part) * size + term.var
            for extent in reversed([int(extent) for extent in values.shape[1:]]):
                place.insert(0, tirx.floormod(rest, extent))
                rest = tirx.floordiv(rest, extent)
            return combine(values(rest, *place), axis=term)

        return finish(te.compute((rows, parts), element, name=hint), size)

    def reduce(builder: relax.BlockBuilder, call: Any) -> Any:
        data, attrs = call.args[0], call.attrs
        shape = [int(size) for size in data.ty.shape]
        axes = range(len(shape)) if attrs.axis is None else sorted({int(axis) % len(shape) for axis in attrs.axis})
        if name == "relax.mean" and "int" in str(data.ty.dtype) and 0 not in shape:
            return _whole_mean(builder, data, list(axes), shape, bool(attrs.keepdims))
        runs = _runs([axis for axis in axes if shape[axis] > 1], shape)
        if 0 in shape or str(data.ty.dtype) not in ("float32", "float64"):
            return from_tvm(builder, call)
        split = _split(shape, runs)
        if split is not None:
            parts = builder.emit(builder.call_te(in_parts, data, split, primfunc_name_hint=hint))
            return relax.op.reshape(builder.emit(getattr(relax.op, hint)(parts, -1)), call.ty.shape)
        if all(len(run) < 2 for run in runs):
            return from_tvm(builder, call)
        results = list(call.ty.shape)

        def program(values: Any) -> Any:
            kept = [axis for axis in range(len(shape)) if axis not in axes]
            counts = [te.reduce_axis((0, math.prod(shape[axis] for axis in run)), "term") for run in runs]

            def element(*at: Any) -> Any:
                place: list[Any] = [tirx.IntImm("int64", 0)] * len(shape)
                for axis, position in zip(kept, [at[axis] for axis in kept] if attrs.keepdims else at, strict=True):
                    place[axis] = position
                for run, count in zip(runs, counts, strict=True):
                    rest = count.var
                    for axis in reversed(run):
                        inner = axis != run[0]
                        place[axis] = tirx.floormod(rest, shape[axis]) if inner else rest
                        rest = tirx.floordiv(rest, shape[axis])
                return combine(values(*place), axis=counts)

            reduced = te.compute(results, element, name=hint)
            return finish(reduced, math.prod(shape[axis] for axis in axes))

        return builder.call_te(program, data, primfunc_name_hint=hint)

    return reduce


def _whole_mean(builder: relax.BlockBuilder, data: Any, axes: list[int], shape: list[int], keepdims: bool) -> Any:
    """The mean of integers, rounded towards zero."""
    dtype = str(data.ty.dtype)
    wide = "uint64" if dtype == "uint64" else "int64"
    terms = tirx.const(math.prod(shape[axis] for axis in axes), wide)

    def program(values: Any) -> Any:
        total = topi.sum(topi.cast(values, wide), axes, keepdims)
        return te.compute(total.shape, lambda *at: tirx.truncdiv(total(*at), terms).astype(dtype), name="mean")

    return builder.call_te(program, data, primfunc_name_hint="mean")


def _split(shape: list[int], runs: list[list[int]]) -> list[int] | None:
    """[rows, parts, size]: the equal parts of long rows, where there are only a few of them; None otherwise."""
    size = math.prod(shape[axis] for run in runs for axis in run)
    rows = math.prod(shape) // size
    if len(runs) != 1 or math.prod(shape[runs[0][-1] + 1 :]) > 1 or rows >= _TASKS or size < _LONG:
        return None
    parts = next((n for n in range(_TASKS, size // _TASKS) if size % n == 0), None)
    return None if parts is None else [rows, parts, size // parts]


def _runs(axes: list[int], shape: list[int]) -> list[list[int]]:
    """Axes in groups of neighbours, with nothing but axes of one element between them."""
    runs: list[list[int]] = []
    for axis in axes:
        if runs and all(shape[between] == 1 for between in range(runs[-1][-1] + 1, axis)):
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


REDUCTIONS = {
    name: _reduction(name, combine)
    for name, combine in {
        "relax.sum": te.sum,
        "relax.mean": te.sum,
        "relax.max": te.max,
        "relax.min": te.min,
    }.items()
}
