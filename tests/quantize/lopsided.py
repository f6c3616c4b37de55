"""A classifier with a layer that 8 bits cannot hold: what it reads lies far from zero, in little more than a step."""

from __future__ import annotations

import numpy as np
import onnx

from tests.models import model, node

BAD = "conv3"
SHAPE = (1, 3, 12, 12)
CLASSES = 5


def lopsided(offset: float = 200.0) -> onnx.ModelProto:
    """Four convolutions and a Gemm; the third one, named BAD, reads a tensor to which the one before adds `offset`, and
    takes it off again in its bias: in floats the model does the same for any offset."""
    rng = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "w1": weights(8, 3, 3, 3),
        "w2": weights(8, 8, 3, 3),
        "b2": weights(8),
        "w3": weights(8, 8, 1, 1),
        "w4": weights(16, 8, 1, 1),
        "w5": 3 * weights(CLASSES, 16 * 36),
    }
    places = constants["w5"].reshape(CLASSES, 16, 36)
    places -= places.mean(2, keepdims=True)  # so that samples differ in their class
    constants["b3"] = -offset * constants["w3"].sum((1, 2, 3))
    constants["b2"] += np.float32(offset)
    nodes = [
        node("Conv", "x w1", "a1", name="conv1", pads=[1, 1, 1, 1]),
        node("Relu", "a1", "r1", name="relu1"),
        node("Conv", "r1 w2 b2", "a2", name="conv2", pads=[1, 1, 1, 1]),
        node("Relu", "a2", "r2", name="relu2"),
        node("Conv", "r2 w3 b3", "a3", name=BAD),
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
