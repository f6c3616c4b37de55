"""Weights that are fitted to kernels of 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import compiler
from compiler.errors import UserError
from compiler.frontend.prepare import load_model
from compiler.kernels.limits import Limits, limits_of
from compiler.quantize.graphs import Graph
from compiler.quantize.insert import quantize_model
from compiler.quantize.post_training import quantize
from compiler.quantize.settings import Settings
from compiler.quantize.weight_range import find_limit, limited_layers
from compiler.quantize.weights import quantize_weights
from compiler.target import load_target
from tests.models import model, node
from tests.quantize.convolutions import floats, noise, run, samples, statistics
from tests.quantize.lopsided import BAD, lopsided, pictures

RNG = np.random.default_rng(21)


def limits(target: str = "x86-64-v3") -> Limits:
    return limits_of(load_target(target))


def network() -> onnx.ModelProto:
    """A convolution of every kind, and products."""
    shapes = {
        "few": (24, 3, 3, 3),
        "wide": (32, 24, 1, 1),
        "depthwise": (32, 1, 3, 3),
        "grouped": (32, 16, 3, 3),
        "odd": (32, 2, 1, 1),
        "transposed": (32, 40, 2, 2),
        "gemm": (24, 40),
        "matmul": (24, 7),
    }
    weights = {
        f"w_{k}": (RNG.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for k, s in shapes.items()
    }
    nodes = [
        node("Conv", "x w_few", "a", name="few", strides=[2, 2]),
        node("Conv", "a w_wide", "b", name="wide"),
        node("Conv", "b w_depthwise", "c", name="depthwise", group=32, pads=[1] * 4),
        node("Conv", "c w_grouped", "d", name="grouped", group=2, pads=[1] * 4, strides=[2, 2]),
        node("Conv", "d w_odd", "e", name="odd", group=16),
        node("ConvTranspose", "e w_transposed", "f", name="transposed", strides=[2, 2]),
        node("GlobalAveragePool", "f", "g", name="pool"),
        node("Flatten", "g", "h", name="flat"),
        node("Gemm", "h w_gemm", "i", name="gemm", transB=1),
        node("MatMul", "i w_matmul", "y", name="matmul"),
    ]
    return model(nodes, {"x": [1, 3, 12, 12]}, ["y"], weights)


def integers_of(proto: onnx.ModelProto) -> dict[str, Any]:
    """Weights by name of the node."""
    return {
        t.name.removeprefix("w_").removesuffix("/q"): numpy_helper.to_array(t)
        for t in proto.graph.initializer
        if t.name.startswith("w_") and t.name.endswith("/q")
    }


@pytest.mark.parametrize("target", ["x86-64-v3", "raspberry-pi-4"])
def test_weights_keep_to_the_limit_of_the_target(target: str) -> None:
    made = floats(network())
    feeds = samples(made.proto)
    seen, graph = statistics(made, feeds), Graph(made.proto.graph)
    settings = Settings(limits=limits(target))
    whole, limited = (quantize_model(made, one, seen).proto for one in (Settings(), settings))
    found = {n.name: find_limit(graph, n, settings) for n in made.proto.graph.node if len(n.input) > 1}
    asked = {name for name, limit in found.items() if name in integers_of(whole) and limit is not None}
    common = {"few", "wide", "depthwise", "transposed", "gemm", "matmul"}
    # Those in groups ARM multiplies one by one.
    assert asked == (common | {"grouped"} if target == "x86-64-v3" else common)
    before, after = integers_of(whole), integers_of(limited)
    for name in asked:
        limit = found[name]
        assert limit is not None and limit(after[name]).max() <= 1
        assert limit(before[name]).max() > 1
        assert limit(after[name]).max() > 0.9  # no smaller than they have to be
    for name in before.keys() - asked:
        np.testing.assert_array_equal(before[name], after[name])
    expected, found_limited = (run(m, feeds[0])["y"] for m in (made.proto, limited))
    assert noise(expected, found_limited) > 20
    assert limited_layers(graph, settings, seen) == ([n for n in found if n in asked], [])
    assert limited_layers(graph, Settings(), seen) == ([], [])


@pytest.mark.parametrize("axis", [None, 1])
def test_scales_are_as_small_as_the_limit_lets_them_be(axis: int | None) -> None:
    weights = RNG.standard_normal((64, 9)).astype(np.float32)
    limit = limits().weights
    assert limit is not None
    integers, scales = quantize_weights(weights, axis, limit.factors)
    reached = limit.factors(integers)
    assert reached.max() <= 1 and (reached if axis is not None else reached.max(keepdims=True)).min() > 0.98
    np.testing.assert_allclose(integers * scales, weights, atol=float(scales.max()) / 2 * 1.001)
    zeros, ones = quantize_weights(np.zeros((4, 2), np.float32), axis, limit.factors)
    assert not zeros.any() and (ones == 1).all()


def test_winograd_takes_any_weights() -> None:
    weights = {"w": RNG.standard_normal((64, 64, 3, 3)).astype(np.float32)}
    proto = model([node("Conv", "x w", "y", name="conv", pads=[1] * 4)], {"x": [1, 64, 28, 28]}, ["y"], weights)
    graph = Graph(floats(proto).proto.graph)
    assert find_limit(graph, graph.nodes[0], Settings(limits=limits())) is None
    assert find_limit(graph, graph.nodes[0], Settings(limits=limits("generic-armv7"))) is not None


def test_a_layer_of_much_noise_keeps_the_whole_range() -> None:
    """Filters whose taps are alike have a fifth of the steps left, and their data are exact."""
    filters = (1 + 0.02 * RNG.standard_normal((16, 1, 5, 5))).astype(np.float32)
    proto = model([node("Conv", "x w", "y", name="even", group=16)], {"x": [1, 16, 9, 9]}, ["y"], {"w": filters})
    made = floats(proto)
    feeds = [{"x": np.full((1, 16, 9, 9), 255, np.float32)}, {"x": np.zeros((1, 16, 9, 9), np.float32)}]
    seen, settings = statistics(made, feeds), Settings(limits=limits())
    graph = Graph(made.proto.graph)
    assert limited_layers(graph, settings, None) == (["even"], [])
    seen.channels["x"].high[:] = 1e-3  # of which a step is nothing
    assert limited_layers(graph, settings, seen) == ([], ["even"])
    weights = [numpy_helper.to_array(t) for t in quantize_model(made, settings, seen).proto.graph.initializer]
    assert max(np.abs(w).max() for w in weights if w.dtype == np.int8) == 127


def test_layers_get_the_whole_range_before_they_return_to_float() -> None:
    settings, data = Settings(limits=limits()), pictures(40)
    best = quantize(load_model(lopsided(0)), {}, Settings(), data, "cosine").accuracy
    free = quantize(load_model(lopsided(0)), {}, settings, data, "cosine").accuracy
    assert best is not None and free is not None and best.drop < free.drop
    bound = quantize(load_model(lopsided(0)), {}, settings, data, "cosine", (best.drop + free.drop) / 2).accuracy
    assert set(free.limited) == {"conv1", "conv2", BAD, "conv4", "scores"} and not free.whole_range
    assert free.to_dict()["weights"] == {
        "limited": 5,
        "whole_range": [],
        "why": "the target has no dot products of 8 bits",
    }
    assert bound is not None and bound.reached and bound.trials > 1
    assert bound.whole_range and not bound.kept


def test_the_whole_range_can_be_asked_for(tmp_path: Path) -> None:
    common = {"precision": "int8", "calibration": pictures(4), "verify": False}
    found = {
        asked: compiler.compile_model(lopsided(0), "x86-64-v3", tmp_path / "m.so", weight_range=asked, **common)
        for asked in (None, "whole")
    }
    assert found[None].manifest["accuracy"]["weights"]["limited"] == 5
    assert found["whole"].manifest["accuracy"]["weights"] is None
    with pytest.raises(UserError, match="unknown range"):
        compiler.compile_model(lopsided(0), out=tmp_path / "m.so", weight_range="half", **common)
