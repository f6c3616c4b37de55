"""What TVM's converters would compute wrongly is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.frontend.checks import refusal
from tests.models import model, node


@pytest.mark.parametrize(
    ("nodes", "opset", "expected"),
    [([node("Dropout", "x ratio yes", "y")], 17, "at random")],
)
def test_forms_that_would_be_computed_wrongly_are_refused(
    nodes: list[onnx.NodeProto], opset: int, expected: str
) -> None:
    constants = {"ratio": np.float32(0.5), "yes": np.bool_(True)}
    assert expected in refusal(model(nodes, {"x": [1, 1, 4, 4]}, ["y"], constants, opset=opset))
