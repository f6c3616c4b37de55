"""Zeros among weights are counted by layer, also those of integers and those that lie in blocks or channels."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.cli.inspect import _model_lines
from compiler.quantize.sparsity import measure
from compiler.report.summary import summarize_model
from tests.models import graph, model, node


def test_blocks_and_channels_of_a_product() -> None:
    w = np.ones((6, 40), np.float32)  # inputs, outputs
    w[0, :16] = 0  # a block
    w[1, 24:40] = 0  # half of a block, and the last one, which is narrower
    w[2] = 0  # an input
    w[:, 33] = 0  # an output
    found = measure(graph([node("MatMul", "x w", "y")], {"x": [1, 6]}, ["y"], {"w": w}))
    assert found is not None
    (row,) = found["layers"]
    assert (row["name"], row["shape"], row["weights"]) == ("MatMul 'y'", [6, 40], 240)
    assert row["zeros"] == pytest.approx(np.mean(w == 0), abs=1e-4)
    assert row["blocks"] == pytest.approx((16 + 8 + 40) / 240, abs=1e-4)
    assert row["channels"] == pytest.approx((40 + 5) / 240, abs=1e-4)
    assert {key: found[key] for key in ("weights", "zeros", "blocks", "channels")} == {
        key: row[key] for key in ("weights", "zeros", "blocks", "channels")
    }


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_groups_have_channels_of_their_own(operator: str) -> None:
    w = np.ones((6, 4, 3, 3), np.float32)  # 2 groups of [3 outputs, 4 inputs], or of [3 inputs, 4 outputs]
    w[4] = 0
    w[:3, 1] = 0
    found = measure(graph([node(operator, "x w", "y", group=2)], {"x": [1, 8, 5, 5]}, ["y"], {"w": w}))
    assert found is not None
    assert found["zeros"] == found["channels"] == pytest.approx((4 + 3) / 24, abs=1e-4)


def test_integers_are_zero_where_they_are_their_zero_point() -> None:
    w = np.full((4, 3, 1, 1), 5, np.uint8)
    w[1, :2] = 7
    nodes = [node("DequantizeLinear", "w s z", "f", axis=0), node("Conv", "x f", "y")]
    constants = {"w": w, "s": np.ones(4, np.float32), "z": np.array([0, 7, 5, 9], np.uint8)}
    found = measure(graph(nodes, {"x": [1, 3, 2, 2]}, ["y"], constants))
    assert found is not None and found["zeros"] == pytest.approx(5 / 12, abs=1e-4)


def test_what_has_no_constant_weights() -> None:
    assert measure(graph([node("MatMul", "x x", "y")], {"x": [2, 2]}, ["y"])) is None
    assert measure(graph([node("MatMul", "w x", "y")], {"x": [2, 2]}, ["y"], {"w": np.ones((2, 2))})) is None


def test_inspect_shows_layers_with_zeros() -> None:
    sparse = np.ones((8, 8), np.float32)
    sparse[:, :4] = 0
    constants = {"v": sparse, "w": np.ones((8, 8), np.float32)}
    nodes = [node("MatMul", "x v", "h", name="first"), node("MatMul", "h w", "y", name="second")]
    summary = summarize_model(model(nodes, {"x": [1, 8]}, ["y"], constants)) | {"target": "host"}
    text = "\n".join(_model_lines(summary))
    assert "25.0% of 128 weights are zero" in text and "25.0% in channels" in text
    assert "MatMul 'first'" in text and "MatMul 'second'" not in text
    dense = summarize_model(model(nodes, {"x": [1, 8]}, ["y"], {"v": constants["w"], "w": constants["w"]}))
    assert "zero" not in "\n".join(_model_lines(dense | {"target": "host"}))
