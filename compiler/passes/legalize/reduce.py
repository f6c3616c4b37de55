"""Reductions over several neighbouring axes as over one, whose elements lie one after the other in memory."""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax, te, tirx, topi


def _reduction(name: str, combine: Any) -> Any:
    from_tvm = tvm.ir.Op.get(name).get_attr("FLegalize")
    hint = name.removeprefix("relax.")

    def reduce(builder: relax.BlockBuilder, call: Any) -> Any:
        data, attrs = call.args[0], call.attrs
        shape = [int(size) for size in data.ty.shape]
        axes = range(len(shape)) if attrs.axis is None else sorted({int(axis) % len(shape) for axis in attrs.axis})
        if name == "relax.mean" and "int" in str(data.ty.dtype) and 0 not in shape:
            return _whole_mean(builder, data, list(axes), shape, bool(attrs.keepdims))
        runs = _runs([axis for axis in axes if shape[axis] > 1], shape)
        if 0 in shape or all(len(run) < 2 for run in runs) or str(data.ty.dtype) not in ("float32", "float64"):
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
            terms = math.prod(shape[axis] for axis in axes)
            return reduced if name != "relax.mean" else topi.divide(reduced, tirx.const(terms, values.dtype))

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
