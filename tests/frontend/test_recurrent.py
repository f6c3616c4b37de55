"""Recurrent layers that the standard does not define."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frontend.checks import refusal


def _rnn(activations: list[str]) -> onnx.ModelProto:
    node = helper.make_node("RNN", ["x", "w", "r"], ["y"], name="layer", hidden_size=2, activations=activations)
    graph = helper.make_graph(
        [node],
        "rnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 2])],
        [numpy_helper.from_array(np.ones((1, 2, n), "float32"), name) for name, n in (("w", 3), ("r", 2))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("activations", "reason"), [(["Swish"], "'Swish'"), (["Tanh", "Tanh"], "2 activations")])
def test_unknown_activations_are_refused(activations: list[str], reason: str) -> None:
    message = refusal(_rnn(activations))
    assert reason in message
    assert "layer" in message
