"""Dilated convolutions become dense ones of smaller images where Winograd's algorithm pays, and change no result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.kernels.limits import limits_of
from compiler.passes.dilated_convolutions import take_dilations_apart
from compiler.passes.lower import phases
from compiler.passes.raise_elementwise import raise_elementwise
from compiler.target import load_target
from tests.kernels.grid import floats, rng_of
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op
LIMITS = replace(limits_of(load_target("x86-64-v4")), multiplies_pairs=False, partial_sums=False)


def build(
    shape: tuple[int, ...], outputs: int, kernel: tuple[int, int] = (3, 3), groups: int = 1, **attributes: Any
) -> Any:
    weight = relax.const(floats("w", outputs, shape[1] // groups, *kernel))
    return module([(shape, "float32")], lambda x: op.nn.conv2d(x, weight, groups=groups, **attributes))


@pytest.mark.parametrize(
    "shape,attributes",
    [
        ((1, 16, 24, 32), {"dilation": 2, "padding": 2}),
        ((2, 16, 33, 31), {"dilation": 2, "padding": [2, 1, 0, 3]}),
        ((1, 16, 25, 40), {"dilation": [1, 3], "padding": [1, 3, 1, 3]}),
        ((1, 16, 40, 25), {"dilation": [4, 1]}),
        ((1, 16, 41, 47), {"dilation": [5, 3], "padding": [9, 0, 0, 0]}),
    ],
    ids=str,
)
def test_results_stay(shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    before = build(shape, 24, **attributes)
    after = take_dilations_apart(before, LIMITS)
    (conv,) = calls(after, "nn.conv2d")
    assert [int(d) for d in conv.attrs.dilation] == [1, 1]
    check_equal(before, after, floats("x", *shape))


def test_what_follows_joins_the_convolution() -> None:
    shape, weight = (1, 16, 25, 25), relax.const(floats("w", 24, 16, 3, 3))
    bias = relax.const(floats("b", 24, 1, 1))
    before = module(
        [(shape, "float32")], lambda x: op.nn.relu(op.add(op.nn.conv2d(x, weight, padding=2, dilation=2), bias))
    )
    after = raise_elementwise(take_dilations_apart(before, LIMITS))
    assert [int(d) for d in calls(after, "nn.relu")[0].args[0].ty.shape] == [4, 24, 13, 13]
    check_equal(before, after, floats("x", *shape))


@pytest.mark.parametrize(
    "shape,outputs,attributes",
    [
        ((1, 16, 24, 32), 24, {"padding": 1}),
        ((1, 16, 24, 32), 24, {"dilation": 2, "strides": 2}),
        ((1, 16, 24, 32), 24, {"dilation": 2, "groups": 2}),
        ((1, 16, 24, 32), 24, {"dilation": 2, "kernel": (3, 1)}),
        ((1, 2, 24, 32), 3, {"dilation": 2}),  # few channels: transforms cost more than they save
        ((1, 64, 33, 33), 64, {"dilation": 18, "padding": 18}),  # images of two by two: few rows for a product
    ],
    ids=str,
)
def test_others_stay_as_they_are(shape: tuple[int, ...], outputs: int, attributes: dict[str, Any]) -> None:
    assert operators(take_dilations_apart(build(shape, outputs, **attributes), LIMITS)) == {"nn.conv2d": 1}


def test_weights_of_run_time_stay_as_they_are() -> None:
    shapes = [((1, 16, 24, 32), "float32"), ((24, 16, 3, 3), "float32")]
    before = module(shapes, lambda x, weight: op.nn.conv2d(x, weight, dilation=2))
    assert operators(take_dilations_apart(before, LIMITS)) == {"nn.conv2d": 1}


def test_dequantised_weights_are_constant() -> None:
    """As a quantised model has them."""
    weight = relax.const(rng_of("w").integers(-127, 128, (24, 16, 3, 3), np.int8))
    scale, zero = relax.const(np.float32(0.01)), relax.const(np.int8(0))
    before = module(
        [((1, 16, 24, 32), "float32")],
        lambda x: op.nn.conv2d(x, op.dequantize(weight, scale, zero), padding=2, dilation=2),
    )
    after = phases(LIMITS)[0].run(before)
    (conv,) = calls(after, "nn.conv2d")
    assert [int(d) for d in conv.attrs.dilation] == [1, 1]
