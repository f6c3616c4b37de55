"""Depthwise kernels: how many places make words of integers together, which loop goes around, what is prefetched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from compiler.target import load_target
from tests.kernels.scheduled import kernel_of
from tests.models import model, node


@pytest.mark.parametrize(
    "size, filter_size, stride, places",
    [
        (56, 3, 1, 8),
        (14, 3, 1, 7),
        (56, 3, 2, 2),  # one column of three is shared
        (14, 3, 2, 2),
        (56, 5, 1, 8),
        (56, 5, 2, 6),
        (28, 2, 2, 1),  # nothing is shared
        (1, 3, 1, 1),
    ],
)
def test_tiles_are_as_long_as_sharing_is_worth(size: int, filter_size: int, stride: int, places: int) -> None:
    weights = np.ones((64, 1, filter_size, filter_size), np.int8)
    pads = [filter_size // 2] * 4 if filter_size % 2 else [0] * 4
    convolution = node("ConvInteger", "x w", "y", group=64, strides=[stride] * 2, pads=pads)
    proto = model([convolution], {"x": ([1, 64, size, size], "uint8")}, ["y"], {"w": weights})
    assert kernel_of(proto, load_target("intel-n100"), "depthwise").parameters["places"] == places


def float_convolution(size: int) -> onnx.ModelProto:
    weights = np.ones((96, 1, 3, 3), np.float32)
    convolution = node("Conv", "x w", "y", group=96, pads=[1] * 4)
    return model([convolution], {"x": [1, 96, size, size]}, ["y"], {"w": weights})


@pytest.mark.parametrize(
    "core, size, outside", [("znver5", 112, 1), ("sapphirerapids", 112, 0), ("sapphirerapids", 7, 1)]
)
def test_channels_go_around_where_the_data_are_near_or_strides_are_foreseen(core: str, size: int, outside: int) -> None:
    target = replace(load_target("x86-64-v4"), core=core)
    assert kernel_of(float_convolution(size), target).parameters["channels_outside"] == outside


@pytest.mark.parametrize("size, asks", [(7, True), (14, True), (28, False)])
def test_weights_are_asked_for_ahead_where_few_tiles_read_them(size: int, asks: bool) -> None:
    found = kernel_of(float_convolution(size), load_target("x86-64-v4"))
    assert bool(found.parameters["prefetch"]) == asks
    assert ("prefetch(" in str(found.func)) == asks
