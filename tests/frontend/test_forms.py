"""Forms that onnx's inference does not understand are rewritten before it sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.frontend.checks import prepared, run_prepared
from tests.models import model, node, value


def _node(proto: onnx.ModelProto, operator: str) -> dict[str, Any]:
    """The attributes of the only node of an operator."""
    (found,) = (one for one in proto.graph.node if one.op_type == operator)
    return {a.name: onnx.helper.get_attribute_value(a) for a in found.attribute}


def test_output_shape_of_an_unpool_is_a_margin() -> None:
    places = np.array([[[[5, 7], [13, 15]]]])
    nodes = [node("MaxUnpool", "x p s", "y", kernel_shape=[2, 2], strides=[2, 2])]
    constants = {"p": places, "s": np.array([1, 1, 5, 6])}
    result = prepared(model(nodes, {"x": [1, 1, 2, 2]}, [value("y", [1, 1, 5, 6])], constants))
    assert result.outputs[0].shape == (1, 1, 5, 6)
    x = np.arange(1, 5, dtype="float32").reshape(1, 1, 2, 2)
    expected = np.zeros((1, 1, 5, 6), np.float32)
    expected[0, 0, 1::2, 1:4:2][:2] = x[0, 0]
    np.testing.assert_array_equal(run_prepared(result, {"x": x})["y"], expected)


def test_bounds_of_a_range_may_have_an_axis() -> None:
    nodes = [node("Range", "a b c", "r"), node("Add", "x r", "y")]
    constants = {name: np.array([n], np.float32) for name, n in {"a": 1, "b": 8, "c": 2}.items()}
    result = prepared(model(nodes, {"x": [4]}, [value("y", [4])], constants))
    x = np.zeros(4, np.float32)
    np.testing.assert_array_equal(run_prepared(result, {"x": x})["y"], np.arange(1, 8, 2, dtype="float32"))


def test_axes_may_be_a_scalar() -> None:
    nodes = [node("Unsqueeze", "x a", "u"), node("Relu", "u", "y")]
    result = prepared(model(nodes, {"x": [2, 3]}, [value("y", [2, 1, 3])], {"a": np.array(1)}))
    assert result.outputs[0].shape == (2, 1, 3)


@pytest.mark.parametrize(("opset", "axis"), [(19, 1), (20, None)])
def test_default_axis_of_a_dft_is_that_of_its_operator_set(opset: int, axis: int | None) -> None:
    result = prepared(model([node("DFT", "x", "y")], {"x": [2, 3, 4, 1]}, [value("y", [2, 3, 4, 2])], opset=opset))
    assert _node(result.proto, "DFT").get("axis") == axis


@pytest.mark.parametrize(("opset", "mode"), [(10, b"output_half_pixel"), (16, None)])
def test_default_corners_of_an_aligned_region_are_those_of_its_operator_set(opset: int, mode: bytes | None) -> None:
    inputs = {"x": [1, 2, 4, 4], "r": [3, 4]}
    nodes = [node("RoiAlign", "x r b", "y")]
    result = prepared(model(nodes, inputs, [value("y", [3, 2, 1, 1])], {"b": np.zeros(3, np.int64)}, opset=opset))
    assert _node(result.proto, "RoiAlign").get("coordinate_transformation_mode") == mode
