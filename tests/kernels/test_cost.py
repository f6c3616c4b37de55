"""Operations and bytes of tensor programs, against numbers counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
from tvm import te, tirx
from tvm.script import tirx as T

from compiler.kernels.cost import Cost, cost_of
from compiler.kernels.dots import dot, word


@T.prim_func(s_tir=True)
def matmul(A: T.Buffer((6, 5), "float32"), B: T.Buffer((5, 7), "float32"), C: T.Buffer((6, 7), "float32")) -> None:
    for i, j, k in T.grid(6, 7, 5):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                C[vi, vj] = T.float32(0)
            C[vi, vj] = C[vi, vj] + A[vi, vk] * B[vk, vj]


def test_matmul() -> None:
    assert cost_of(matmul) == Cost(2 * 6 * 7 * 5, 4 * (6 * 5 + 5 * 7), 4 * 6 * 7, 6 * 7 * 5, "float32")


@T.prim_func(s_tir=True)
def convolution(
    x: T.Buffer((1, 9, 9, 3), "float32"),
    w: T.Buffer((3, 3, 3, 4), "float32"),
    b: T.Buffer((4,), "float32"),
    y: T.Buffer((1, 4, 4, 4), "float32"),
) -> None:
    total = T.sblock_alloc_buffer((1, 4, 4, 4), "float32")
    biased = T.sblock_alloc_buffer((1, 4, 4, 4), "float32")
    for n, h, v, c, i, j, k in T.grid(1, 4, 4, 4, 3, 3, 3):
        with T.sblock("total"):
            vn, vh, vv, vc, vi, vj, vk = T.axis.remap("SSSSRRR", [n, h, v, c, i, j, k])
            with T.init():
                total[vn, vh, vv, vc] = T.float32(0)
            total[vn, vh, vv, vc] = total[vn, vh, vv, vc] + x[vn, vh * 2 + vi, vv * 2 + vj, vk] * w[vi, vj, vk, vc]
    for n, h, v, c in T.grid(1, 4, 4, 4):
        with T.sblock("biased"):
            vn, vh, vv, vc = T.axis.remap("SSSS", [n, h, v, c])
            biased[vn, vh, vv, vc] = total[vn, vh, vv, vc] + b[vc]
    for n, h, v, c in T.grid(1, 4, 4, 4):
        with T.sblock("y"):
            vn, vh, vv, vc = T.axis.remap("SSSS", [n, h, v, c])
            y[vn, vh, vv, vc] = T.max(biased[vn, vh, vv, vc], T.float32(0))


def test_convolution_with_stride_bias_and_activation() -> None:
    outputs = 4 * 4 * 4
    cost = cost_of(convolution)
    assert cost.flops == outputs * (2 * 27 + 2)
    assert cost.bytes_read == 4 * (9 * 9 * 3 + 27 * 4 + 4)  # windows overlap: all of the image, once
    assert cost.bytes_written == 4 * outputs
    assert cost.iterations == outputs * (27 + 1)  # what is biased is inlined


@T.prim_func(s_tir=True)
def depthwise(
    x: T.Buffer((8, 8, 5), "float32"), w: T.Buffer((3, 3, 5), "float32"), y: T.Buffer((6, 6, 5), "float32")
) -> None:
    for h, v, c, i, j in T.grid(6, 6, 5, 3, 3):
        with T.sblock("y"):
            vh, vv, vc, vi, vj = T.axis.remap("SSSRR", [h, v, c, i, j])
            with T.init():
                y[vh, vv, vc] = T.float32(0)
            y[vh, vv, vc] = y[vh, vv, vc] + x[vh + vi, vv + vj, vc] * w[vi, vj, vc]


def test_depthwise() -> None:
    assert cost_of(depthwise) == Cost(2 * 9 * 180, 4 * (8 * 8 * 5 + 9 * 5), 4 * 180, 9 * 180, "float32")


@T.prim_func(s_tir=True)
def softmax(x: T.Buffer((3, 10), "float32"), y: T.Buffer((3, 10), "float32")) -> None:
    most = T.sblock_alloc_buffer((3,), "float32")
    power = T.sblock_alloc_buffer((3, 10), "float32")
    total = T.sblock_alloc_buffer((3,), "float32")
    for i, k in T.grid(3, 10):
        with T.sblock("most"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                most[vi] = T.float32(-3e38)
            most[vi] = T.max(most[vi], x[vi, vk])
    for i, j in T.grid(3, 10):
        with T.sblock("power"):
            vi, vj = T.axis.remap("SS", [i, j])
            power[vi, vj] = T.exp(x[vi, vj] - most[vi])
    for i, k in T.grid(3, 10):
        with T.sblock("total"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                total[vi] = T.float32(0)
            total[vi] = total[vi] + power[vi, vk]
    for i, j in T.grid(3, 10):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = power[vi, vj] / total[vi]


def test_softmax() -> None:
    """A maximum, a difference, an exponential (20), a sum and a quotient for each element, read once; three loops."""
    assert cost_of(softmax) == Cost(30 * (1 + 1 + 20 + 1 + 1), 4 * 30, 4 * 30, 3 * 30, "float32")


@T.prim_func(s_tir=True)
def window(x: T.Buffer((100, 64), "float16"), y: T.Buffer((10, 8), "float16")) -> None:
    moved = T.sblock_alloc_buffer((64, 100), "float16")
    for i, j in T.grid(64, 100):
        with T.sblock("moved"):
            vi, vj = T.axis.remap("SS", [i, j])
            moved[vi, vj] = x[vj, vi] * T.float16(2)
    for i, j in T.grid(10, 8):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = moved[vj * 2 + 5, vi + 50]


def test_only_what_a_slice_needs_is_counted() -> None:
    """Of the transposed and doubled tensor, 8 rows in steps of two and 10 columns are used."""
    assert cost_of(window) == Cost(80, 2 * 80, 2 * 80, 80, "float16")


@T.prim_func(s_tir=True)
def padded(x: T.Buffer((4, 4), "int8"), y: T.Buffer((6, 6), "int8")) -> None:
    for i, j in T.grid(6, 6):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.if_then_else(vi >= 1 and vi < 5 and vj >= 1 and vj < 5, x[vi - 1, vj - 1], T.int8(0))


def test_padding_reads_no_more_than_there_is() -> None:
    assert cost_of(padded) == Cost(0, 16, 36, 36, "int8")


@T.prim_func(s_tir=True)
def joined(a: T.Buffer((3, 5), "float32"), b: T.Buffer((3, 2), "float32"), y: T.Buffer((3, 7), "float32")) -> None:
    for i, j in T.grid(3, 7):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = T.if_then_else(vj < 5, a[vi, vj] + T.float32(1), b[vi, vj - 5])


def test_branches_of_a_concatenation() -> None:
    """Each part is read once; the dearer branch counts for all elements."""
    assert cost_of(joined) == Cost(21, 4 * (15 + 6), 4 * 21, 21, "float32")


@T.prim_func(s_tir=True)
def gathered(
    x: T.Buffer((1000, 16), "float32"), rows: T.Buffer((3,), "int64"), y: T.Buffer((3, 16), "float32")
) -> None:
    for i, j in T.grid(3, 16):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = x[rows[vi], vj]


def test_a_gather_reads_what_it_asks_for() -> None:
    assert cost_of(gathered) == Cost(0, 4 * 3 * 16 + 8 * 3, 4 * 48, 48, "float32")


@T.prim_func(s_tir=True)
def quantised(a: T.Buffer((4, 8), "uint8"), b: T.Buffer((8, 4), "int8"), y: T.Buffer((4, 4), "int32")) -> None:
    for i, j, k in T.grid(4, 4, 8):
        with T.sblock("y"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                y[vi, vj] = 0
            y[vi, vj] = y[vi, vj] + T.Cast("int32", a[vi, vk]) * T.Cast("int32", b[vk, vj])


def test_types_before_conversion_count() -> None:
    cost = cost_of(quantised)
    assert (cost.flops, cost.bytes_moved, cost.dtype) == (2 * 128, 32 + 32 + 64, "uint8")


@T.prim_func(s_tir=True)
def diagonal(x: T.Buffer((9, 9), "float64"), y: T.Buffer((9,), "float64")) -> None:
    for i in range(9):
        with T.sblock("y"):
            vi = T.axis.spatial(9, i)
            y[vi] = T.sqrt(x[vi, vi]) - x[vi // 3, vi % 3]


def test_indices_that_belong_together() -> None:
    """The diagonal has 9 elements, and the corner of 3x3 too; what they share counts twice."""
    assert cost_of(diagonal) == Cost(9 * 2, 8 * (9 + 9), 8 * 9, 9, "float64")


@T.prim_func(s_tir=True)
def unused(x: T.Buffer((4,), "float32"), y: T.Buffer((4,), "float32")) -> None:
    dead = T.sblock_alloc_buffer((4,), "float32")
    for i in range(4):
        with T.sblock("dead"):
            vi = T.axis.spatial(4, i)
            dead[vi] = T.exp(x[vi])
    for i in range(4):
        with T.sblock("y"):
            vi = T.axis.spatial(4, i)
            y[vi] = x[vi]


def test_what_nobody_reads_costs_nothing() -> None:
    assert cost_of(unused) == Cost(0, 16, 16, 4, "float32")


@T.prim_func(s_tir=True)
def accumulated(x: T.Buffer((5, 3), "float32"), y: T.Buffer((5, 3), "float32")) -> None:
    with T.sblock("root"):
        for j in range(3):
            with T.sblock("column"):
                vj = T.axis.spatial(3, j)
                T.reads(x[0:5, vj])
                T.writes(y[0:5, vj])
                y[0, vj] = x[0, vj]
                for i in range(4):
                    y[i + 1, vj] = y[i, vj] + x[i + 1, vj]


def test_loops_inside_a_block() -> None:
    assert cost_of(accumulated) == Cost(12, 4 * 15, 4 * 15, 15, "float32")


@pytest.mark.parametrize("name, operations", [("exp", 20), ("tanh", 22), ("erf", 24), ("pow", 48), ("fabs", 1)])
def test_functions_are_weighted(name: str, operations: int) -> None:
    call: Any = getattr(T, name)

    @T.prim_func(s_tir=True)
    def program(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")) -> None:
        for i in range(8):
            with T.sblock("y"):
                vi = T.axis.spatial(8, i)
                y[vi] = call(x[vi], x[vi]) if name == "pow" else call(x[vi])

    assert cost_of(program).flops == 8 * operations


@T.prim_func(s_tir=True)
def dynamic(x_handle: T.handle, y_handle: T.handle) -> None:
    n = T.int64()
    x, y = T.match_buffer(x_handle, (n, 8), "float32"), T.match_buffer(y_handle, (n, 8), "float32")
    for i, j in T.grid(n, 8):
        with T.sblock("y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = x[vi, vj] + T.float32(1)


def test_an_unknown_length_counts_once() -> None:
    assert cost_of(dynamic) == Cost(8, 32, 32, 8, "float32")


@pytest.mark.parametrize(
    ("kind", "dtype", "group"), [("uint8", "uint8", 4), ("uint8_small", "uint8", 4), ("int16", "int16", 2)]
)
def test_words_count_by_their_elements(kind: str, dtype: str, group: int) -> None:
    x, w = te.placeholder((6, 8), dtype), te.placeholder((8 // group, 5), "int32")
    r = te.reduce_axis((0, 8 // group))

    def product(i: Any, j: Any) -> Any:
        return te.sum(dot(word([x[i, r * group + k] for k in range(group)]), w[r, j], kind), axis=r)

    sums = te.compute((6, 5), product)
    halved = te.compute((6, 5), lambda i, j: tirx.shift_right(sums[i, j], tirx.const(1, "int32")))
    cost = cost_of(te.create_prim_func([x, w, halved]))
    assert (cost.flops, cost.dtype) == (2 * 6 * 8 * 5, dtype)
    assert cost.bytes_read == 6 * 8 * (4 // group) + 4 * (8 // group) * 5


def test_a_chain_is_one_nest() -> None:
    """Threads share it by how often its result's loops run, whatever is computed in between."""
    x = te.placeholder((6, 8), "float32")
    scaled = te.compute(x.shape, lambda i, j: x[i, j] / tirx.const(3, "float32"))
    rounded = te.compute(x.shape, lambda i, j: tirx.round(scaled[i, j]))
    result = te.compute(x.shape, lambda i, j: rounded[i, j].astype("uint8"))
    assert cost_of(te.create_prim_func([x, result])).iterations == 6 * 8


def test_divisions_have_the_type_of_their_operands() -> None:
    x = te.placeholder((6, 8), "float32")
    result = te.compute(x.shape, lambda i, j: (x[i, j] / tirx.const(3, "float32")).astype("uint8"))
    assert cost_of(te.create_prim_func([x, result])).dtype == "float32"
