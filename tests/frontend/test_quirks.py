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
        ([node("BitShift", "bits nine", "y", direction="LEFT")], 17, "width"),
        ([node("GridSample", "thin grid", "y", padding_mode="reflection", align_corners=1)], 16, "size 1"),
    ],
)
def test_forms_that_would_be_computed_wrongly_are_refused(
    nodes: list[onnx.NodeProto], opset: int, expected: str
) -> None:
    constants = {
        "k": np.ones(1, np.float32),
        "nine": np.array([9], np.uint8),
    }
    inputs = {"x": [1, 1, 4, 4], "bits": ([2], "uint8"), "thin": [1, 1, 4, 1], "grid": [1, 2, 2, 2]}
    assert expected in refusal(model(nodes, inputs, ["y"], constants, opset=opset))
