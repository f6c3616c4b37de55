"""Maximum pooling along contiguous rows, as of images whose channels come first.

For each row of results the rows under its windows become one, in vectors, with margins on both sides; from this row,
which stays in the first-level cache, the windows' columns are taken without a look at the borders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from ...operators.by_hand import independent, program, reshaped, serial, whole

LARGEST = 8  # columns of a window, which are written out
_ON_STACK = 1 << 12  # elements of a row


def max_pool_rows(builder: relax.BlockBuilder, call: Any, windows: Sequence[Any], lowest: float | int) -> Any:
    """A call of max_pool1d or max_pool2d; the tensor program's result.

    Args:
        windows: along the last axis, or the last two.
        lowest: what stands outside of the tensor.
    """
    *outer_windows, columns = windows
    dtype, sizes = str(call.ty.dtype), [int(size) for size in call.args[0].ty.shape]
    rows = outer_windows[0] if outer_windows else replace(columns, size=1, results=1, kernel=1, stride=1, before=0)
    outer = math.prod(sizes) // (rows.size * columns.size)
    data = reshaped(builder, call.args[0], [outer, rows.size, columns.size])
    shape = [outer, rows.results, columns.results]
    outside = tirx.const(lowest, dtype)

    def pooled(values: Any) -> Any:
        return program([values], [shape], [dtype], write, "max_pool")

    def write(source: Any, target: Any) -> None:
        work = outer * rows.results * (rows.kernel * columns.size + columns.kernel * columns.results)
        with independent(outer * rows.results, work) as task:
            image, row = tirx.floordiv(task, whole(rows.results)), tirx.floormod(task, whole(rows.results))
            extent = (columns.results - 1) * columns.stride + (columns.kernel - 1) * columns.dilation + 1
            joined = T.alloc_buffer((extent,), dtype, scope="local" if extent <= _ON_STACK else "global")
            with serial(extent) as i:
                T.buffer_store(joined, outside, [i])
            first = max(0, min(columns.size, extent - columns.before))
            with serial(rows.kernel) as tap:
                place = rows.place(row, tap)
                with T.If(tirx.all(place >= whole(0), place < whole(rows.size))), T.Then(), serial(first) as i:
                    at = i + whole(columns.before)
                    T.buffer_store(joined, tirx.max(joined[at], source[image, place, i]), [at])
            with serial(columns.results) as column:
                T.buffer_store(target, _window(joined, column, columns), [image, row, column])

    made = builder.emit(builder.call_te(pooled, data, primfunc_name_hint="max_pool"))
    return relax.op.reshape(made, call.ty.shape)


def _window(joined: Any, column: Any, columns: Any) -> Any:
    value = None
    for tap in range(columns.kernel):
        own = joined[column * whole(columns.stride) + whole(tap * columns.dilation)]
        value = own if value is None else tirx.max(value, own)
    return value
