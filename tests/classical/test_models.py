"""scripts/classical_models.py: the models are of the sizes that they claim, and take any number of rows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest


def build(name: str) -> onnx.ModelProto:
    for package in ("sklearn", "skl2onnx", "onnxmltools", "xgboost"):
        pytest.importorskip(package, reason=f"no {package}; the `test` extra of pyproject.toml has it")
    from scripts.classical_models import MODELS

    return MODELS[name]()


def attributes(model: onnx.ModelProto, operator: str) -> dict[str, object]:
    [node] = (node for node in model.graph.node if node.op_type == operator)
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def test_support_vectors() -> None:
    model = build("support_vectors")
    assert not model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    assert sum(attributes(model, "SVMClassifier")["vectors_per_class"]) == 2000  # type: ignore[call-overload]


def test_neighbours() -> None:
    model = build("neighbours")
    shapes = [tuple(tensor.dims) for tensor in model.graph.initializer]
    assert (10_000, 30) in shapes and any(node.op_type == "CDist" for node in model.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize("name, trees", [("random_forest", 100), ("gradient_boosting", 500)])
def test_trees(name: str, trees: int) -> None:
    assert len(np.unique(attributes(build(name), "TreeEnsembleClassifier")["nodes_treeids"])) == trees
