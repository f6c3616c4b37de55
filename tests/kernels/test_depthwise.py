"""How many places of depthwise kernels of integers make words of data together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.pointwise import kernel_of
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
    assert kernel_of(proto, "intel-n100", "depthwise").parameters["places"] == places
