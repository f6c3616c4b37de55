"""Convolutions along one axis become convolutions of images, and what follows them stays with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.rows_as_images import take_rows_as_images
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op


def network(stride: int, padding: int, dilation: int, groups: int, batch: int = 2) -> Any:
    """Two convolutions with biases, activations and what was before the second added."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((batch, 6, 17), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            weight = relax.const(floats("w", 8, 6 // groups, 3))
            settings = {"strides": stride, "padding": padding, "dilation": dilation, "groups": groups}
            first = builder.emit(op.nn.conv1d(x, weight, **settings))
            first = builder.emit(op.add(first, relax.const(floats("b", 1, 8, 1))))
            first = builder.emit(op.clip(first, 0, 6))
            second = builder.emit(op.nn.conv1d(first, relax.const(floats("v", 8, 8, 1))))
            bias = builder.emit(op.reshape(relax.const(floats("c", 8)), [1, 8, 1]))
            second = builder.emit(op.add(builder.emit(op.add(second, bias)), first))
            result = builder.emit_output(builder.emit(op.sigmoid(second)))
        builder.emit_func_output(result)
    return builder.get()


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 1, 1, 2), (3, 4, 1, 1), (1, 2, 3, 2)]
)
def test_two_convolutions(stride: int, padding: int, dilation: int, groups: int) -> None:
    before = network(stride, padding, dilation, groups)
    after = relax.transform.DeadCodeElimination()(take_rows_as_images(before))
    found = operators(after)
    assert found["nn.conv1d"] == 0 and found["nn.conv2d"] == 2
    # One in, one out, and those of the two biases.
    assert found["reshape"] <= 5
    check_equal(before, after, floats("x", 2, 6, 17))


def test_a_weight_that_is_no_constant() -> None:
    builder = relax.BlockBuilder()
    params = [
        relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in (("x", (1, 3, 5)), ("w", (4, 3, 2)))
    ]
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(op.nn.conv1d(*params))
        builder.emit_func_output(result)
    before = builder.get()
    after = take_rows_as_images(before)
    assert operators(after)["nn.conv2d"] == 1
    check_equal(before, after, floats("x", 1, 3, 5), floats("w", 4, 3, 2))


def test_a_module_without_them_stays() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 3, 5), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(op.nn.relu(x))
        builder.emit_func_output(result)
    before = builder.get()
    assert take_rows_as_images(before).same_as(before)


def quantised(groups: int, channels: int = 8) -> Any:
    """Padded bytes, their convolution, and what makes floats of the sums with vectors of two axes."""
    rng = np.random.default_rng(0)
    weight = relax.const(rng.integers(-9, 9, (channels, channels // groups, 5), np.int8))
    scale, shift = (relax.const(floats(name, channels, 1)) for name in "sb")

    def body(x: Any) -> Any:
        y = op.nn.conv1d(op.nn.pad(x, [0, 0, 0, 0, 2, 1]), weight, groups=groups, dilation=2, out_dtype="int32")
        return op.add(op.multiply(op.astype(op.subtract(y, relax.const(3)), "float32"), scale), shift)

    return module([((2, channels, 17), "int8")], body)


@pytest.mark.parametrize(("groups", "axis"), [(1, 2), (2, 2), (8, 3)])
def test_bytes_of_channels_by_themselves_are_columns(groups: int, axis: int) -> None:
    before = quantised(groups)
    after = take_rows_as_images(before)
    (conv,) = calls(after, "nn.conv2d")
    assert int(conv.ty.shape[axis]) == 1
    x = np.random.default_rng(1).integers(-99, 99, (2, 8, 17), np.int8)
    check_equal(before, after, x)


def test_vectors_of_fewer_axes_are_computed_of_images() -> None:
    after = relax.transform.DeadCodeElimination()(take_rows_as_images(quantised(8)))
    (last,) = calls(after, "add")
    assert [int(d) for d in last.ty.shape] == [2, 8, 12, 1]


def test_rows_and_columns_are_added() -> None:
    weights = [relax.const(np.ones(shape, np.int8)) for shape in ((8, 8, 1), (8, 1, 3))]

    def body(x: Any) -> Any:
        first = op.nn.conv1d(x, weights[0], out_dtype="int32")
        second = op.nn.conv1d(x, weights[1], groups=8, padding=1, out_dtype="int32")
        return op.add(op.add(first, second), first)

    before = module([((1, 8, 9), "int8")], body)
    after = take_rows_as_images(before)
    assert operators(after)["nn.conv2d"] == 2
    check_equal(before, after, np.random.default_rng(1).integers(-99, 99, (1, 8, 9), np.int8))
