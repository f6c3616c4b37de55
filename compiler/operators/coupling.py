"""Probabilities of classes from those of each pair of classes, by the second method of Wu, Lin and Weng, "Probability
Estimates for Multi-class Classification by Pairwise Coupling", JMLR 5 (2004), as libsvm stops it.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as T

from .by_hand import independent, program, serial, whole
from .define import define

COUPLING = "edgec.coupling"
_ROUNDS = 100
_ERROR = 0.005  # over the number of classes: the rounds end below it
_STEPS = 16  # that a row takes about, of _ROUNDS


def coupling(pairs: Any, classes: int) -> Any:
    """A Relax expression: float32 `pairs` [N, classes (classes - 1) / 2] → [N, classes].

    A column of `pairs` is the probability of i against j; the columns are (0, 1), (0, 2), …, (1, 2), ….
    """
    return _call(pairs, classes=classes)


def _infer_type(call: Any) -> Any:
    return relax.TensorType([int(call.args[0].ty.shape[0]), int(call.attrs["classes"])], "float32")


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    rows, classes = (int(size) for size in call.ty.shape)

    def coupled(pairs: Any) -> Any:
        def write(source: Any, result: Any, matrix: Any) -> None:
            with independent(rows, rows * _STEPS * 4 * classes**2) as row:
                _fill(source, matrix, row, classes)
                _iterate(result, matrix, row, classes)

        shapes = [[rows, classes], [rows, classes, classes]]
        return program([pairs], shapes, ["float32", "float32"], write, "coupling")[0]

    return builder.call_te(coupled, *call.args, primfunc_name_hint="coupling")


def _fill(source: Any, matrix: Any, row: Any, classes: int) -> None:
    """Q: the squared probabilities against each class on the diagonal, minus products of opposite ones beside it."""
    with serial(classes) as i:
        T.buffer_store(matrix, _real(0), [row, i, i])
    with serial(classes) as i, serial(whole(classes - 1) - i) as ahead:
        j = i + whole(1) + ahead
        pair = i * whole(classes) - tirx.floordiv(i * (i + whole(1)), whole(2)) + ahead
        first = source[row, pair]
        second = _real(1) - first
        T.buffer_store(matrix, matrix[row, i, i] + second * second, [row, i, i])
        T.buffer_store(matrix, matrix[row, j, j] + first * first, [row, j, j])
        T.buffer_store(matrix, _real(0) - second * first, [row, i, j])
        T.buffer_store(matrix, _real(0) - second * first, [row, j, i])


def _iterate(result: Any, matrix: Any, row: Any, classes: int) -> None:
    products = T.alloc_buffer((classes,), "float32", scope="local")  # Q p
    form, error, step = (T.alloc_buffer((1,), "float32", scope="local") for _ in range(3))  # form: p Q p
    going = T.alloc_buffer((1,), "int32", scope="local")
    with serial(classes) as i:
        T.buffer_store(result, _real(1 / classes), [row, i])
    T.buffer_store(going, tirx.const(1), [0])
    with serial(_ROUNDS), T.If(going[0] != 0), T.Then():
        T.buffer_store(form, _real(0), [0])
        with serial(classes) as i:
            T.buffer_store(products, _real(0), [i])
            with serial(classes) as j:
                T.buffer_store(products, products[i] + matrix[row, i, j] * result[row, j], [i])
            T.buffer_store(form, form[0] + result[row, i] * products[i], [0])
        T.buffer_store(error, _real(0), [0])
        with serial(classes) as i:
            T.buffer_store(error, tirx.max(error[0], tirx.abs(products[i] - form[0])), [0])
        T.buffer_store(going, (error[0] >= _real(_ERROR / classes)).astype("int32"), [0])
        with T.If(going[0] != 0), T.Then(), serial(classes) as i:
            T.buffer_store(step, (form[0] - products[i]) / matrix[row, i, i], [0])
            scale = _real(1) + step[0]
            T.buffer_store(result, result[row, i] + step[0], [row, i])
            moved = form[0] + step[0] * (step[0] * matrix[row, i, i] + _real(2) * products[i])
            T.buffer_store(form, moved / scale / scale, [0])
            with serial(classes) as j:
                T.buffer_store(products, (products[j] + step[0] * matrix[row, i, j]) / scale, [j])
                T.buffer_store(result, result[row, j] / scale, [row, j])


def _real(value: float) -> Any:
    return tirx.const(value, "float32")


_call = define(COUPLING, _infer_type, _legalize)
