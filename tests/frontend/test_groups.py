"""GroupNormalization in steps: the same results in every operator set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontend.checks import same_results
from tests.models import model, node, value


def weights(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(count)
    return {name: rng.standard_normal(count).astype("float32") for name in "sb"}


@pytest.mark.parametrize("shape", [[2, 6, 3, 5], [1, 6, 4], [3, 6], [1, 6, 2, 2, 3]])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_weights_of_channels(shape: list[int], groups: int) -> None:
    nodes = [node("GroupNormalization", "x s b", "g", num_groups=groups, epsilon=0.1), node("Relu", "g", "y")]
    result = same_results(model(nodes, {"x": shape}, [value("y", shape)], weights(6), opset=21))
    found = [n.op_type for n in result.proto.graph.node]
    assert "InstanceNormalization" in found and "GroupNormalization" not in found


def test_weights_of_groups_before_operator_set_21() -> None:
    nodes = [node("GroupNormalization", "x s b", "y", num_groups=3)]
    result = same_results(model(nodes, {"x": [2, 6, 3, 5]}, [value("y", [2, 6, 3, 5])], weights(3), opset=18))
    assert [n.op_type for n in result.proto.graph.node] == ["Reshape", "InstanceNormalization", "Reshape"]


def test_weights_that_are_inputs() -> None:
    nodes = [node("GroupNormalization", "x s b", "y", num_groups=2)]
    same_results(model(nodes, {"x": [2, 6, 3, 5], "s": [6], "b": [6]}, [value("y", [2, 6, 3, 5])], opset=21))
