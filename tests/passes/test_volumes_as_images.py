"""Convolutions along three axes become sums of convolutions of images, and change no result."""

from __future__ import annotations

from typing import Any

import pytest
from tvm import relax

from compiler.passes.raise_elementwise import raise_elementwise
from compiler.passes.volumes_as_images import take_volumes_as_images
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op


@pytest.mark.parametrize(
    "shape,weight,attributes",
    [
        ((1, 3, 4, 5, 6), (8, 3, 3, 3, 3), {"padding": 1}),
        ((2, 4, 5, 6, 4), (6, 4, 3, 1, 2), {"strides": [2, 1, 1], "padding": [1, 0, 1, 2, 0, 0]}),
        ((2, 4, 6, 5, 5), (4, 1, 3, 3, 3), {"groups": 4, "padding": [0, 1, 1, 0, 1, 1]}),
        ((1, 4, 7, 5, 5), (6, 2, 2, 3, 3), {"groups": 2, "dilation": [3, 2, 1], "strides": [2, 2, 1]}),
        ((3, 5, 2, 3, 4), (7, 5, 1, 1, 1), {}),
        ((1, 1, 1, 1, 1), (1, 1, 1, 1, 1), {}),
        ((2, 2, 2, 3, 3), (4, 2, 5, 3, 3), {"padding": [4, 1, 1, 1, 1, 1], "strides": [2, 1, 1]}),
    ],
)
def test_results_stay(shape: tuple[int, ...], weight: tuple[int, ...], attributes: dict[str, Any]) -> None:
    w = relax.const(floats("w", *weight))
    before = module([(shape, "float32")], lambda x: op.nn.conv3d(x, w, **attributes))
    after = take_volumes_as_images(before)
    assert operators(after)["nn.conv3d"] == 0 < operators(after)["nn.conv2d"]
    check_equal(before, after, floats("x", *shape))


def test_weights_that_are_no_constants() -> None:
    shapes = [((1, 3, 4, 5, 6), "float32"), ((8, 3, 3, 3, 3), "float32")]
    before = module(shapes, lambda x, w: op.nn.conv3d(x, w, padding=1))
    check_equal(before, take_volumes_as_images(before), *(floats(f"x{i}", *s) for i, (s, _) in enumerate(shapes)))


def test_what_follows_is_computed_of_images() -> None:
    w, bias = relax.const(floats("w", 16, 3, 3, 3, 3)), relax.const(floats("b", 1, 16, 1, 1, 1))
    shape = (2, 3, 4, 5, 6)
    before = module([(shape, "float32")], lambda x: op.nn.relu(op.add(op.nn.conv3d(x, w, padding=1), bias)))
    after = raise_elementwise(take_volumes_as_images(before))
    for call in [*calls(after, "nn.relu"), calls(after, "add")[-1]]:
        assert tuple(int(d) for d in call.args[0].ty.shape) == (8, 16, 5, 6)
    check_equal(before, after, floats("x", *shape))


@pytest.mark.parametrize("padding,taps", [([1, 0, 0, 1, 0, 0], 1), ([0, 0, 0, 2, 0, 0], 1), ([2, 0, 0, 2, 0, 0], 3)])
def test_taps_over_margins_alone_are_left_out(padding: list[int], taps: int) -> None:
    w, shape = relax.const(floats("w", 4, 2, 3, 3, 3)), (2, 2, 1, 3, 3)
    before = module([(shape, "float32")], lambda x: op.nn.conv3d(x, w, padding=padding))
    after = take_volumes_as_images(before)
    assert operators(after)["nn.conv2d"] == taps
    check_equal(before, after, floats("x", *shape))


def test_nothing_but_margins() -> None:
    w, shape = relax.const(floats("w", 4, 2, 1, 3, 3)), (1, 2, 1, 3, 3)
    before = module([(shape, "float32")], lambda x: op.nn.conv3d(x, w, padding=[1, 0, 0, 0, 0, 0], strides=[2, 1, 1]))
    after = take_volumes_as_images(before)
    assert operators(after)["nn.conv2d"] == 1
    check_equal(before, after, floats("x", *shape))
