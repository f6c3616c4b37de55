"""What TVM's converters would compute wrongly is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.frontend.checks import refusal
from tests.models import model, node


@pytest.mark.parametrize(
    ("nodes", "opset", "expected"),
    [
        ([node("BatchNormalization", "x k k k k", "y m n", training_mode=1)], 17, "training"),
    ],
)
def test_forms_that_would_be_computed_wrongly_are_refused(
    nodes: list[onnx.NodeProto], opset: int, expected: str
) -> None:
    constants = {"k": np.ones(1, np.float32)}
    inputs = {"x": [1, 1, 4, 4]}
    assert expected in refusal(model(nodes, inputs, ["y"], constants, opset=opset))
