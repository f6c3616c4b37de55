"""Where the largest or smallest element is, along rows that are contiguous in memory: the extremum first, then the
first place that has it. Two passes in vectors take less time than one that carries positions along.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax, te, tirx

from ...operators.by_hand import around, reshaped

_EXACT = 1 << 24  # positions up to here are exact in float32
_OPAQUE = {"op_pattern": 8}  # conversions of the position do not join, which rules for rows of floats would refuse


def _search(name: str, combine: Any) -> Any:
    from_tvm = tvm.ir.Op.get(name).get_attr("FLegalize")
    hint = name.removeprefix("relax.")

    def search(builder: relax.BlockBuilder, call: Any) -> Any:
        data, axis = call.args[0], call.attrs.axis
        sizes = [int(size) for size in data.ty.shape]
        shape = around(sizes, int(axis) % len(sizes)) if axis is not None else [1, math.prod(sizes), 1]
        rows, size, inner = shape
        if str(data.ty.dtype) != "float32" or inner != 1 or not 1 < size <= _EXACT or not rows:
            return from_tvm(builder, call)

        def places(values: Any) -> Any:
            term, other = te.reduce_axis((0, size), "term"), te.reduce_axis((0, size), "other")
            best = te.compute((rows,), lambda row: combine(values(row, term), axis=term), name="best")

            def place(row: Any) -> Any:
                hit = values(row, other) == best(row)
                found = tirx.Select(hit, other.var.astype("float32"), tirx.const(size - 1, "float32"))
                return te.min(found, axis=other)

            return te.compute((rows,), place, name=hint)

        flat = reshaped(builder, data, [rows, size])
        made = builder.emit(builder.call_te(places, flat, primfunc_name_hint=hint, primfunc_attrs=_OPAQUE))
        return builder.normalize(relax.op.reshape(_converted(builder, made, str(call.ty.dtype)), call.ty.shape))

    return search


def _converted(builder: relax.BlockBuilder, places: Any, dtype: str) -> Any:
    def convert(values: Any) -> Any:
        return te.compute(values.shape, lambda row: values(row).astype(dtype), name="position")

    return builder.emit(builder.call_te(convert, places, primfunc_name_hint="position"))


SEARCHES = {"relax.argmax": _search("relax.argmax", te.max), "relax.argmin": _search("relax.argmin", te.min)}
