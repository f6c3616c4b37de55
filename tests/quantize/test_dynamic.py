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
from tests.quantize.convolutions import floats, noise, operators, residual, run, samples, weights

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


def test_a_model_without_products_is_refused() -> None:
    made = floats(model([node("Conv", "x w", "y")], {"x": [1, 3, 4, 4]}, ["y"], weights(w=(2, 3, 3, 3))))
    with pytest.raises(UserError, match="nothing in the model can be quantised when it runs"):
        quantize_model(made, _DYNAMIC)


def test_compiled_the_model_computes_the_same() -> None:
    proto = quantize_model(floats(mlp()), _DYNAMIC).proto
    with Runner(proto) as runner:
        for feeds in [*samples(proto, 2), {"x": np.zeros((2, 3, 6), np.float32)}]:
            assert np.allclose(runner(feeds)["y"], run(proto, feeds)["y"], rtol=1e-4, atol=1e-4)
