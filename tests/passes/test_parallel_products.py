"""Narrow products over one input become one product, and only those."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.kernels.limits import limits_of
from compiler.passes.parallel_products import merge_parallel_products
from compiler.target import load_target
from tests.kernels.grid import floats
from tests.passes.relax_modules import check_equal, operators

op = relax.op
LIMITS = limits_of(load_target("x86-64-v3"))  # vectors of 8


def conv(x: Any, channels: int, size: int = 1, **attributes: Any) -> Any:
    weight = relax.const(floats(f"w{channels}", size, size, 6, channels))
    return op.nn.conv2d(x, weight, data_layout="NHWC", kernel_layout="HWIO", **attributes)


def bias(x: Any, channels: int) -> Any:
    return op.add(x, relax.const(floats(f"b{channels}", 1, 1, 1, channels)))


@pytest.mark.parametrize(("size", "padding"), [(1, 0), (3, 1)])
def test_a_head_of_a_detector(size: int, padding: int) -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 5, 7, 6), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            made = [builder.emit(conv(x, c, size, padding=padding)) for c in (4, 3, 1)]
            made[:2] = [builder.emit(bias(value, c)) for value, c in zip(made, (4, 3), strict=False)]
            result = builder.emit_output(relax.Tuple(made))
        builder.emit_func_output(result)
    before = builder.get()
    after = relax.transform.DeadCodeElimination()(merge_parallel_products(before, LIMITS))
    assert dict(operators(after)) == {"nn.conv2d": 1, "add": 1, "strided_slice": 3}
    check_equal(before, after, floats("x", 2, 5, 7, 6))


def products(widths: list[int], activations: list[str], shapes: list[int] | None = None) -> Any:
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType((5, 9), "float32")) for i in range(2)]
    with builder.function("main", params):
        with builder.dataflow():
            made = []
            for number, (width, activation) in enumerate(zip(widths, activations, strict=True)):
                source = params[(shapes or [0] * len(widths))[number]]
                value = builder.emit(op.matmul(source, relax.const(floats(f"m{number}", 9, width))))
                function = {"relu": op.nn.relu, "sigmoid": op.sigmoid}.get(activation)
                made.append(value if function is None else builder.emit(function(value)))
            result = builder.emit_output(relax.Tuple(made))
        builder.emit_func_output(result)
    return builder.get()


@pytest.mark.parametrize(
    ("widths", "activations", "expected"),
    [
        ([3, 2], ["", ""], {"matmul": 1, "strided_slice": 2}),
        ([3, 2, 3], ["relu"] * 3, {"matmul": 1, "nn.relu": 1, "strided_slice": 3}),
        ([3, 2], ["relu", "sigmoid"], {"matmul": 2, "nn.relu": 1, "sigmoid": 1}),
        ([3, 2, 1], ["relu", "sigmoid", "relu"], {"matmul": 2, "nn.relu": 1, "sigmoid": 1, "strided_slice": 2}),
        ([8, 8], ["", ""], {"matmul": 2}),  # whole vectors
        ([12, 12], ["", ""], {"matmul": 2}),  # a quarter of the work is too little
    ],
)
def test_products(widths: list[int], activations: list[str], expected: dict[str, int]) -> None:
    before = products(widths, activations)
    after = relax.transform.DeadCodeElimination()(merge_parallel_products(before, LIMITS))
    assert dict(operators(after)) == expected
    check_equal(before, after, floats("x", 5, 9), floats("z", 5, 9))


def test_other_inputs_stay() -> None:
    before = products([3, 2], ["", ""], [0, 1])
    assert operators(merge_parallel_products(before, LIMITS)) == operators(before)


def test_a_product_that_is_read_twice_keeps_its_value() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((5, 9), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            first, second = (builder.emit(op.matmul(x, relax.const(floats(name, 9, 3)))) for name in "ab")
            shifted = builder.emit(op.add(first, relax.const(np.float32(2))))
            result = builder.emit_output(relax.Tuple([first, shifted, second]))
        builder.emit_func_output(result)
    before = builder.get()
    after = relax.transform.DeadCodeElimination()(merge_parallel_products(before, LIMITS))
    assert dict(operators(after)) == {"matmul": 1, "strided_slice": 2, "add": 1}
    check_equal(before, after, floats("x", 5, 9))
