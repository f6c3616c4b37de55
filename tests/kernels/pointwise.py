"""Convolutions of single pixels."""

from __future__ import annotations

import numpy as np
import onnx

from tests.models import model, node


def pointwise(shape: tuple[int, int, int, int], channels: int) -> onnx.ModelProto:
    """A convolution of an image of `shape` [N, C, H, W] to so many channels, and a Relu."""
    weights = np.random.default_rng(0).standard_normal((channels, shape[1], 1, 1)).astype(np.float32)
    return model([node("Conv", "x w", "c"), node("Relu", "c", "y")], {"x": list(shape)}, ["y"], {"w": weights})
