"""Determinants by elimination with pivots (Golub and Van Loan, "Matrix Computations", section 3.4)."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from .by_hand import independent, program, serial, whole
from .define import define

DETERMINANT = "edgec.determinant"


def determinant(data: Any) -> Any:
    """A Relax expression: `data` [..., n, n] of floats → [...]."""
    return _call(data)


def _infer_type(call: Any) -> Any:
    data = call.args[0].ty
    return relax.TensorType([int(size) for size in data.shape][:-2], str(data.dtype))


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    shape = [int(size) for size in call.args[0].ty.shape]
    count, size = math.prod(shape[:-2]), shape[-1]
    dtype = str(call.ty.dtype)
    wide = "float64" if dtype == "float64" else "float32"

    def eliminated(data: Any) -> Any:
        def write(source: Any, result: Any, rows: Any) -> None:
            with independent(count, count * size**3) as one:
                _eliminate(source, result, rows, one, size, wide)

        return program([data], [[count], [count, size, size]], [wide, wide], write, "determinant")[0]

    data = builder.emit(relax.op.reshape(call.args[0], [count, size, size]))
    made = builder.emit(builder.call_te(eliminated, data, primfunc_name_hint="determinant"))
    made = builder.emit(relax.op.reshape(made, shape[:-2]))
    return made if dtype == wide else builder.normalize(relax.op.astype(made, dtype))


def _eliminate(source: Any, result: Any, rows: Any, one: Any, size: int, dtype: str) -> None:
    with serial(size) as row, serial(size) as column:
        T.buffer_store(rows, source[one, row, column].astype(dtype), [one, row, column])
    T.buffer_store(result, tirx.const(1, dtype), [one])
    pivot, held = T.alloc_buffer((1,), "int64", scope="local"), T.alloc_buffer((2,), dtype, scope="local")
    zero = tirx.const(0, dtype)
    with serial(size) as step:
        T.buffer_store(pivot, step, [0])
        with serial(whole(size) - step) as ahead:
            row = step + ahead
            with T.If(tirx.abs(rows[one, row, step]) > tirx.abs(rows[one, pivot[0], step])), T.Then():
                T.buffer_store(pivot, row, [0])
        with serial(size) as column:
            T.buffer_store(held, rows[one, step, column], [0])
            T.buffer_store(held, rows[one, pivot[0], column], [1])
            T.buffer_store(rows, held[0], [one, pivot[0], column])
            T.buffer_store(rows, held[1], [one, step, column])
        T.buffer_store(held, rows[one, step, step], [1])
        signed = tirx.Select(pivot[0] == step, held[1], zero - held[1])
        T.buffer_store(result, result[one] * signed, [one])
        with serial(whole(size - 1) - step) as below:
            row = step + whole(1) + below
            share = tirx.if_then_else(held[1] == zero, zero, rows[one, row, step] / held[1])
            T.buffer_store(held, share, [0])
            with serial(size) as column:
                T.buffer_store(rows, rows[one, row, column] - held[0] * rows[one, step, column], [one, row, column])


_call = define(DETERMINANT, _infer_type, _legalize)
