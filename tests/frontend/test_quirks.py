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
        ([node("Dropout", "x ratio yes", "y")], 17, "at random"),
        ([node("GridSample", "thin grid", "y", padding_mode="reflection", align_corners=1)], 16, "size 1"),
    ],
)
def test_forms_that_would_be_computed_wrongly_are_refused(
    nodes: list[onnx.NodeProto], opset: int, expected: str
) -> None:
    constants = {"ratio": np.float32(0.5), "yes": np.bool_(True)}
    inputs = {"x": [1, 1, 4, 4], "thin": [1, 1, 4, 1], "grid": [1, 2, 2, 2]}
    assert expected in refusal(model(nodes, inputs, ["y"], constants, opset=opset))
