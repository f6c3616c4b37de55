"""A classifier with a layer that 8 bits cannot hold: one channel of what it reads is far larger than the others."""

from __future__ import annotations

import numpy as np
import onnx

from tests.models import model, node

BAD = "conv3"
SHAPE = (1, 3, 12, 12)
CLASSES = 5


def lopsided(factor: float = 200.0) -> onnx.ModelProto:
    """Four convolutions and a Gemm; the third one, named BAD, reads a tensor whose first channel is `factor` times
    larger than the others, and takes it back in its weights: the float model is that of any factor."""
    rng = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "w1": weights(8, 3, 3, 3),
        "w2": weights(8, 8, 3, 3),
        "b2": weights(8),
        "w3": weights(8, 8, 3, 3),
        "w4": weights(16, 8, 1, 1),
        "w5": 3 * weights(CLASSES, 16 * 36),
    }
    places = constants["w5"].reshape(CLASSES, 16, 36)
    places -= places.mean(2, keepdims=True)  # so that samples differ in their class
    constants["w2"][0] *= factor
    constants["b2"][0] *= factor
    constants["w3"][:, 0] /= factor
    nodes = [
        node("Conv", "x w1", "a1", name="conv1", pads=[1, 1, 1, 1]),
        node("Relu", "a1", "r1", name="relu1"),
        node("Conv", "r1 w2 b2", "a2", name="conv2", pads=[1, 1, 1, 1]),
        node("Relu", "a2", "r2", name="relu2"),
        node("Conv", "r2 w3", "a3", name=BAD, pads=[1, 1, 1, 1]),
        node("Relu", "a3", "r3", name="relu3"),
        node("MaxPool", "r3", "p", name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p w4", "a4", name="conv4"),
        node("Relu", "a4", "r4", name="relu4"),
        node("Flatten", "r4", "f", name="flat"),
        node("Gemm", "f w5", "y", name="scores", transB=1),
    ]
    return model(nodes, {"x": list(SHAPE)}, ["y"], constants)


def pictures(count: int) -> np.ndarray:
    """Samples for it, [count, 3, 12, 12]."""
    return np.random.default_rng(7).standard_normal((count, *SHAPE[1:])).astype(np.float32)
