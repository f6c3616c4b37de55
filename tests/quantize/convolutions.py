"""Small convolutional networks, and the tools that tests of quantisation share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx

from compiler.frontend.prepare import Model, load_model
from compiler.quantize.floats import float_model
from compiler.quantize.observe import observe, observed
from compiler.quantize.ranges import Statistics
from compiler.verify.reference import run_reference
from tests.models import model, node

Feeds = dict[str, Any]


def samples(proto: onnx.ModelProto, count: int = 8, seed: int = 0) -> list[Feeds]:
    """Feeds of normally distributed floats."""
    rng = np.random.default_rng(seed)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
    return [{k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()} for _ in range(count)]


def floats(proto: onnx.ModelProto) -> Model:
    return float_model(load_model(proto))


def run(proto: onnx.ModelProto, feeds: Feeds, extra: Iterable[str] = ()) -> Feeds:
    """All outputs and the tensors of other names, from the reference."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    known = {v.name for v in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in extra if name not in known)
    return run_reference(copy, feeds)[1]


def statistics(made: Model, feeds: Iterable[Feeds]) -> Statistics:
    """What `observe` finds where the reference runs the model."""
    names = observed(made)
    return observe(made, feeds, lambda one: run(made.proto, one, names))


def noise(expected: Any, found: Any) -> float:
    """Signal-to-noise ratio in dB."""
    error = np.sum((expected.astype(np.float64) - found) ** 2)
    return float(10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / max(error, 1e-30)))


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def weights(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, Any]:
    """Normally distributed weights by name, scaled so that products keep the size of values."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)
        for name, shape in shapes.items()
    }


def residual(channels: int = 5, size: int = 7, batch: int = 1) -> onnx.ModelProto:
    """`x` [batch, 3, size, size] → convolutions, a residual, a depthwise one, means, a dense layer → `y` [batch, 4]."""
    constants = weights(
        w0=(channels, 3, 3, 3), b0=(channels,), w1=(channels, channels, 3, 3), w2=(channels, 1, 3, 3), w3=(channels, 4)
    )
    nodes = [
        node("Conv", "x w0 b0", "c0", pads=[1, 1, 1, 1]),
        node("Relu", "c0", "r0"),
        node("Conv", "r0 w1", "c1", pads=[1, 1, 1, 1]),
        node("Add", "c1 r0", "a"),
        node("Relu", "a", "r1"),
        node("Conv", "r1 w2", "c2", group=channels, strides=[2, 2]),
        node("Sigmoid", "c2", "s"),
        node("Mul", "c2 s", "m"),
        node("GlobalAveragePool", "m", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f w3", "y"),
    ]
    return model(nodes, {"x": [batch, 3, size, size]}, ["y"], constants)
