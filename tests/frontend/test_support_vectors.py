"""Support vector machines that are refused, and Scans that are no distances; results are in tests/kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.frontend.checks import prepared, refusal
from tests.models import model, node, value

SVM: dict[str, Any] = {
    "classlabels_ints": [0, 1],
    "coefficients": [0.5, -0.25, 1.0],
    "kernel_params": [0.1, 0.0, 3.0],
    "kernel_type": "RBF",
    "rho": [0.1],
    "support_vectors": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "vectors_per_class": [1, 2],
}


def classifier(shape: list[int], **changed: Any) -> onnx.ModelProto:
    attributes = {name: given for name, given in (SVM | changed).items() if given is not None}
    made = node("SVMClassifier", "x", "y z", "ai.onnx.ml", **attributes)
    outputs = [value("y", None, "int64"), value("z", None)]
    return model([made], {"x": shape}, outputs, domains=["ai.onnx.ml"])


@pytest.mark.parametrize(
    ("changed", "shape", "reason"),
    [
        ({"coefficients": [0.5]}, [4, 2], "1 coefficients for 2 classes and 3 support vectors"),
        ({"kernel_type": "COSINE"}, [4, 2], "its kernel_type 'COSINE' is none of the standard's"),
        ({"post_transform": "PROBIT"}, [4, 2], "PROBIT of one score"),
        ({"prob_a": [1.0]}, [4, 2], "its rho, prob_a or prob_b is too short"),
        ({"rho": None}, [4, 2], "it has no rho"),
        ({"classlabels_ints": None}, [4, 2], "it has no class labels"),
        ({"support_vectors": [1.0] * 7}, [4, 2], "which do not make 3 vectors"),
        ({"vectors_per_class": [3]}, [4, 2], "of 1 classes and 2 labels"),
        ({}, [4, 3], "its support vectors have 2 elements"),
    ],
)
def test_a_refused_classifier_says_why(changed: dict[str, Any], shape: list[int], reason: str) -> None:
    assert reason in refusal(classifier(shape, **changed))


def test_a_regressor_with_a_transform_is_refused() -> None:
    attributes = {"coefficients": [0.5, 1.0], "rho": [0.1], "post_transform": "LOGISTIC"}
    made = node("SVMRegressor", "x", "y", "ai.onnx.ml", **attributes)
    proto = model([made], {"x": [3, 2]}, [value("y", None)], domains=["ai.onnx.ml"])
    assert "its attribute post_transform is supported as 'NONE' only" in refusal(proto)


def test_linear_support_vectors_are_merged() -> None:
    result = prepared(classifier([4, 2], kernel_type="LINEAR"))
    product = next(n for n in result.proto.graph.node if n.op_type in ("MatMul", "Gemm"))
    weights = next(t for t in result.proto.graph.initializer if t.name == product.input[1])
    assert sorted(weights.dims) == [1, 2]


def scan(body: list[onnx.NodeProto], outputs: tuple[str, str] = ("all_out", "result")) -> onnx.ModelProto:
    info, kind = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    constants = [helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1]), helper.make_tensor("p", kind, [], [2.5])]
    inputs = [info("all", kind, [4, 3]), info("one", kind, [3])]
    results = [info(outputs[0], kind, [4, 3]), info(outputs[1], kind, [4])]
    made = helper.make_graph(body, "body", inputs, results, constants)
    taken = helper.make_node("Scan", ["x", "points"], ["last", "y"], num_scan_inputs=1, body=made)
    points = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    return model([taken], {"x": [4, 3]}, [value("y", [5, 4])], {"points": points}, opset=18)


KEPT, DIFFERENCE = node("Identity", "all", "all_out"), node("Sub", "one all", "d")
SQUARES = node("ReduceSumSquare", "d axes", "result", keepdims=0)


def operators(proto: onnx.ModelProto) -> set[str]:
    return {n.op_type for n in prepared(proto).proto.graph.node}


@pytest.mark.parametrize(
    "body",
    [
        [KEPT, DIFFERENCE, SQUARES],
        [KEPT, DIFFERENCE, node("Abs", "d", "a"), node("ReduceSum", "a axes", "result", keepdims=0)],
    ],
)
def test_a_scan_over_points_is_one_operator(body: list[onnx.NodeProto]) -> None:
    made = operators(scan(body))
    assert "Distances" in made and "Scan" not in made


@pytest.mark.parametrize(
    "body",
    [
        # Not the difference of the two, another sum, another power, and an input that changes on the way.
        [KEPT, node("Sub", "all all", "d"), SQUARES],
        [KEPT, DIFFERENCE, node("ReduceSum", "d axes", "result", keepdims=0)],
        [KEPT, DIFFERENCE, node("ReduceMax", "d axes", "result", keepdims=0)],
        [
            KEPT,
            DIFFERENCE,
            node("Abs", "d", "a"),
            node("Pow", "a p", "b"),
            node("ReduceSum", "b axes", "result", keepdims=0),
        ],
        [node("Neg", "all", "all_out"), DIFFERENCE, SQUARES],
    ],
)
def test_other_scans_stay_what_they_are(body: list[onnx.NodeProto]) -> None:
    assert operators(scan(body)) == {"Repeat"}
