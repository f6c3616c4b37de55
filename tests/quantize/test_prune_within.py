"""Layers get their weights back until a pruned model loses no more than allowed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from compiler.errors import UserError
from compiler.quantize import prune_within
from compiler.quantize.sparsity import measure
from tests.models import model, node

RNG = np.random.default_rng(0)
SAMPLES = {"x": RNG.standard_normal((12, 32)).astype(np.float32)}


def net() -> onnx.ModelProto:
    """Two products whose small weights hardly matter around one whose weights all do."""
    few = RNG.standard_normal((3, 48, 48)).astype(np.float32)
    few[0][RNG.random((48, 48)) < 0.7] *= 0.01
    few[2][RNG.random((48, 48)) < 0.7] *= 0.01
    few[1] = np.sign(few[1]) / 7
    nodes = [
        node("MatMul", "x u", "a", name="first"),
        node("Tanh", "a", "b"),
        node("MatMul", "b v", "c", name="second"),
        node("Tanh", "c", "d"),
        node("MatMul", "d w", "y", name="third"),
    ]
    constants = {"u": few[0][:32], "v": few[1], "w": few[2][:, :10]}
    return model(nodes, {"x": [1, 32]}, ["y"], constants)


def test_the_layer_that_matters_gets_its_weights_back() -> None:
    proto = net()
    free, lost = prune_within(proto, 0.6, SAMPLES, scope="layer", metric="cosine")
    kept, bounded = prune_within(proto, 0.6, SAMPLES, 0.02, scope="layer", metric="cosine")
    assert lost.drop > 0.02 >= bounded.drop
    assert bounded.kept == ("second",)
    zeros = [{row["name"]: row["zeros"] for row in measure(one.graph)["layers"]} for one in (free, kept)]
    assert all(share == pytest.approx(0.6, abs=0.01) for share in zeros[0].values())
    assert zeros[1]["MatMul 'second'"] == 0 and zeros[1]["MatMul 'first'"] == pytest.approx(0.6, abs=0.01)


def test_a_bound_that_cannot_be_kept() -> None:
    with pytest.raises(UserError, match="falls by more"):
        prune_within(net(), 0.9, SAMPLES, 0.0, scope="layer", metric="cosine")
