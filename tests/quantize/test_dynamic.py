"""Products that quantise their data when they run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from compiler.errors import UserError
from compiler.quantize.insert import quantize_model
from compiler.quantize.runner import Runner
from compiler.quantize.settings import Settings
from tests.models import model, node
from tests.quantize.convolutions import floats, noise, operators, residual, run, samples, statistics, weights

_DYNAMIC = Settings("int8-dynamic")


def mlp() -> onnx.ModelProto:
    """`x` [2, 3, 6] → two products that read the same, one of which has its weights across, a third → `y`."""
    nodes = [
        node("MatMul", "x w0", "a"),
        node("MatMul", "x w1", "b"),
        node("Mul", "a b", "c"),
        node("Flatten", "c", "f"),
        node("Gemm", "f w2 b2", "y", transB=1, alpha=0.5),
    ]
    return model(nodes, {"x": [2, 3, 6]}, ["y"], weights(w0=(6, 5), w1=(6, 5), w2=(4, 15), b2=(4,)))


def test_results_are_near_the_float_model_whatever_their_size() -> None:
    given = mlp()
    made = quantize_model(floats(given), _DYNAMIC)
    for feeds, size in zip(samples(given, 3), (1, 1e-3, 1e3), strict=True):
        scaled = {"x": feeds["x"] * np.float32(size)}
        assert noise(run(given, scaled)["y"], run(made.proto, scaled)["y"]) > 25


def test_data_are_quantised_once_and_weights_are_integers() -> None:
    proto = quantize_model(floats(mlp()), _DYNAMIC).proto
    assert operators(proto).count("DynamicQuantizeLinear") == 2
    assert operators(proto).count("MatMulInteger") == 3
    held = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert held["a/weights/q"].data_type == onnx.TensorProto.INT8 and "w0" not in held
    assert list(held["y/weights/q"].dims) == [15, 4]


def test_kept_nodes_and_convolutions_stay_in_float() -> None:
    proto = quantize_model(floats(mlp()), Settings("int8-dynamic", keep=frozenset(("a", "y")))).proto
    assert operators(proto).count("MatMulInteger") == 1 and operators(proto).count("MatMul") == 1
    kept = quantize_model(floats(residual()), _DYNAMIC).proto
    assert operators(kept).count("Conv") == 3 and operators(kept).count("MatMulInteger") == 1


def convolutions() -> onnx.ModelProto:
    """`x` [2, 3, 9, 8] → one with strides and margins, one of 1x1, one along one axis → `y`."""
    nodes = [
        node("Conv", "x w0 b0", "a", strides=[2, 1], pads=[1, 0, 0, 2], dilations=[1, 2]),
        node("Relu", "a", "b"),
        node("Conv", "b w1", "c"),
        node("Flatten", "c", "d"),
        node("Unsqueeze", "d one", "e"),
        node("Conv", "e w2 b2", "y", auto_pad="SAME_UPPER"),
    ]
    held = weights(w0=(5, 3, 3, 3), b0=(5,), w1=(7, 5, 1, 1), w2=(4, 1, 5), b2=(4,)) | {"one": np.array([1])}
    return model(nodes, {"x": [2, 3, 9, 8]}, ["y"], held)


def test_convolutions_compute_what_onnxruntime_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.quantize.dynamic._LEAST_MACS", 0)
    monkeypatch.setattr("compiler.quantize.dynamic._LEAST_REUSE", 0)
    given = convolutions()
    proto = quantize_model(floats(given), _DYNAMIC).proto
    assert operators(proto).count("ConvInteger") == 3
    with Runner(proto) as runner:
        for feeds in samples(proto, 2):
            expected = run(proto, feeds)["y"]
            assert noise(run(given, feeds)["y"], expected) > 25
            assert np.allclose(runner(feeds)["y"], expected, rtol=1e-4, atol=1e-4)
    plain = quantize_model(floats(mlp()), Settings("int8-dynamic", dots=False)).proto
    assert operators(plain).count("MatMulInteger") == 3
    with pytest.raises(UserError, match="large Conv"):
        quantize_model(floats(given), Settings("int8-dynamic", dots=False))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_are_near_the_float_model(kind: str) -> None:
    rows = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind] * 20
    layer = node(kind, "x w r b", "h last", hidden_size=20, direction="bidirectional")
    held = weights(w=(2, rows, 6), r=(2, rows, 20), b=(2, 2 * rows), v=(20, 3))
    given = model([layer, node("MatMul", "last v", "y")], {"x": [5, 2, 6]}, ["h", "y"], held)
    proto = quantize_model(floats(given), _DYNAMIC).proto
    found = operators(proto)
    assert (found.count("DynamicQuantizeLinear"), found.count("DequantizeLinear"), found.count(kind)) == (2, 3, 1)
    with Runner(proto) as runner:
        for feeds in samples(given, 2):
            expected = run(given, feeds)
            assert all(noise(expected[name], runner(feeds)[name]) > 25 for name in ("h", "y"))
    kept = quantize_model(floats(given), Settings("int8-dynamic", keep=frozenset(("h",)))).proto
    assert operators(kept).count("DequantizeLinear") == 0


def test_a_model_without_products_is_refused() -> None:
    made = floats(model([node("Conv", "x w", "y")], {"x": [1, 3, 4, 4]}, ["y"], weights(w=(2, 3, 3, 3))))
    with pytest.raises(UserError, match="nothing in the model can be quantised when it runs"):
        quantize_model(made, _DYNAMIC)


def test_compiled_the_model_computes_the_same() -> None:
    proto = quantize_model(floats(mlp()), _DYNAMIC).proto
    with Runner(proto) as runner:
        for feeds in [*samples(proto, 2), {"x": np.zeros((2, 3, 6), np.float32)}]:
            assert np.allclose(runner(feeds)["y"], run(proto, feeds)["y"], rtol=1e-4, atol=1e-4)


def test_static_quantisation_leaves_ranges_of_recurrent_layers_to_the_run() -> None:
    nodes = [node("Conv", "x w b", "a"), node("GRU", "a v r", "_ h", hidden_size=16)]
    held = weights(w=(8, 4, 1), b=(8,), v=(1, 48, 9), r=(1, 48, 16))
    given = model(nodes, {"x": [5, 4, 9]}, ["h"], held)
    made = floats(given)
    proto = quantize_model(made, Settings(), statistics(made, samples(given))).proto
    found = operators(proto)
    assert (found.count("QuantizeLinear"), found.count("DynamicQuantizeLinear")) == (1, 1)
    with Runner(proto) as runner:
        feeds = samples(given, 1, seed=1)[0]
        assert noise(run(given, feeds)["h"], runner(feeds)["h"]) > 20
