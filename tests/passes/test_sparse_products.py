"""Zeros in blocks are left out of products where that pays, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.pipeline import compile_model
from compiler.quantize.prune import prune
from tests.kernels.cases_sparse import weights
from tests.models import model, node

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("zeros", "sparse"), [(0.8, True), (0.1, False)])
def test_the_rule_takes_what_has_zeros_enough(zeros: float, sparse: bool, tmp_path: Path) -> None:
    w = weights(128, 96, zeros, "pays")
    proto = model([node("MatMul", "x w", "h"), node("Tanh", "h", "y")], {"x": [7, 128]}, ["y"], {"w": w})
    artifact = compile_model(proto, "host", tmp_path / "net.so")
    assert artifact.verified == "passed" and not artifact.unscheduled
    (kernel,) = artifact.manifest["kernels"]  # with what follows
    assert kernel["rule"] == ("sparse" if sparse else "packed")
    assert (artifact.manifest["memory"]["weights_bytes"] < 0.4 * w.nbytes) == sparse


def test_zeros_here_and_there_are_multiplied(tmp_path: Path) -> None:
    w = RNG.standard_normal((64, 64)).astype(np.float32)
    w[RNG.random(w.shape) < 0.8] = 0
    proto = model([node("MatMul", "x w", "y")], {"x": [7, 64]}, ["y"], {"w": w})
    artifact = compile_model(proto, "host", tmp_path / "net.so", verify=False)
    assert [kernel["rule"] for kernel in artifact.manifest["kernels"]] == ["packed"]


def test_a_model_pruned_by_blocks(tmp_path: Path) -> None:
    constants = {
        "v": RNG.standard_normal((64, 64, 1, 1)).astype(np.float32),
        "w": RNG.standard_normal((64, 64, 3, 3)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x v", "a", name="point"),
        node("Relu", "a", "b"),
        node("Conv", "b w", "y", name="wide", pads=[1, 1, 1, 1]),
    ]
    proto = prune(model(nodes, {"x": [1, 64, 9, 9]}, ["y"], constants), 0.8, "blocks", "layer")
    artifact = compile_model(proto, "host", tmp_path / "net.so")
    rules = [kernel["rule"] for kernel in artifact.manifest["kernels"]]
    assert rules.count("sparse") == 1  # not of the wide kernel
    assert artifact.verified == "passed"
