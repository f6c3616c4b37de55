"""Operator sets 1 to 6, which onnxruntime runs in part only: results against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.frontend.checks import prepared, refusal, run_prepared
from tests.models import model, node, value

pytest.importorskip("onnxruntime", reason="runs what was prepared")

F = np.float32
X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(F)
K3, K4 = F([1, 2, 3]), F([1, 2, 3, 4])

# Nodes, constants, operator sets, the result for X.
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], tuple[int, ...], Any]] = {
    "Add beside": ([node("Add", "x k", "y", broadcast=1, axis=1)], {"k": K3}, (1, 6), X + K3[:, None]),
    "Mul at the end": ([node("Mul", "x k", "y", broadcast=1)], {"k": K4}, (1, 6), X * K4),
    "Sub, negative": ([node("Sub", "x k", "y", broadcast=1, axis=-2)], {"k": K3}, (6,), X - K3[:, None]),
    "Div of equals": ([node("Div", "x x", "y")], {}, (6,), np.ones_like(X)),
    "Consumed": ([node("Relu", "x", "y", consumed_inputs=[0])], {}, (1,), np.maximum(X, 0)),
    "PRelu": ([node("PRelu", "x k", "y")], {"k": K3}, (1, 6), np.where(X < 0, X * K3[:, None], X)),
    "PRelu of one slope": ([node("PRelu", "x k", "y")], {"k": F([0.5])}, (6,), np.where(X < 0, X / 2, X)),
    "Reshape": ([node("Reshape", "x", "y", shape=[4, -1])], {}, (1,), X.reshape(4, 6)),
    "Concat": ([node("Concat", "x x", "y")], {}, (1,), np.concatenate([X, X], axis=1)),
    "Pad": ([node("Pad", "x", "y", paddings=[0, 1, 0, 2, 0, 0], value=3.0)], {}, (1,),
        np.pad(X, [(0, 2), (1, 0), (0, 0)], constant_values=3)),
    "Dropout": ([node("Dropout", "x", "y", is_test=1)], {}, (1, 6), X),
    "Cast": ([node("Cast", "x", "i", to="INT32"), node("Cast", "i", "y", to="FLOAT")], {}, (1,), np.trunc(X)),
    "Selu": ([node("Selu", "x", "y")], {}, (1,), F(1.0507) * np.where(X > 0, X, F(1.6732) * (np.exp(X) - 1))),
    "Tile": ([node("Tile", "x n a", "y")], {"n": F(3), "a": F(1)}, (1, 5), np.tile(X, (1, 3, 1))),
    "Tile by repeats": ([node("Tile", "x r", "y")], {"r": np.array([1, 2, 2])}, (6,), np.tile(X, (1, 2, 2))),
    "RNN": ([node("RNN", "x w r", "s h", hidden_size=2, output_sequence=1), node("Squeeze", "s", "y", axes=[1])],
            {"w": np.zeros((1, 2, 4), F), "r": np.ones((1, 2, 2), F)}, (1,), np.zeros((2, 3, 2))),
}  # fmt: skip


@pytest.mark.parametrize(("name", "opset"), [(name, opset) for name, case in CASES.items() for opset in case[2]])
def test_an_operator_of_long_ago(name: str, opset: int) -> None:
    nodes, constants, _, wanted = CASES[name]
    proto = model(nodes, {"x": [2, 3, 4]}, [value("y", list(wanted.shape))], constants, opset=opset)
    results = run_prepared(prepared(proto), {"x": X})
    np.testing.assert_allclose(results["y"], wanted, rtol=1e-5, atol=1e-6)


def test_gemm_with_a_row_to_add() -> None:
    constants = {"w": np.ones((4, 5), F), "b": F([1, 2, 3, 4, 5])}
    proto = model([node("Gemm", "x w b", "y", broadcast=1)], {"x": [2, 4]}, [value("y", [2, 5])], constants, opset=6)
    result = run_prepared(prepared(proto), {"x": X[:, 0]})["y"]
    np.testing.assert_allclose(result, X[:, 0] @ constants["w"] + constants["b"], rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "opset", "expected"),
    [
        ([node("Dropout", "x", "y")], 6, "training"),
        ([node("ScaledTanh", "x", "y")], 5, "experimental"),
        ([node("Cast", "x", "y", to="NOTHING")], 1, "NOTHING"),
        ([node("LpPool", "x", "y", p=1.5, kernel_shape=[2])], 1, "p=1.5"),
    ],
)
def test_what_has_no_counterpart(nodes: list[onnx.NodeProto], opset: int, expected: str) -> None:
    assert expected in refusal(model(nodes, {"x": [2, 3, 4]}, [value("y", None)], opset=opset))
