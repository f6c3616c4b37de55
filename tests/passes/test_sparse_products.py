"""Zeros in blocks are left out of products where that pays, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.kernels.limits import limits_of
from compiler.passes.scattered_program import Scattered, compress
from compiler.pipeline import Artifact, compile_model
from compiler.quantize.prune import prune
from compiler.target import list_targets, load_target
from tests.kernels.cases_sparse import weights
from tests.models import model, node

RNG = np.random.default_rng(0)


def weights_in_memory(artifact: Artifact) -> int:
    """Bytes, of those that the file holds in codes too."""
    memory = artifact.manifest["memory"]
    return int(memory.get("unpacked_bytes", memory["weights_bytes"]))


@pytest.mark.parametrize(("zeros", "sparse"), [(0.8, True), (0.1, False)])
def test_the_rule_takes_what_has_zeros_enough(zeros: float, sparse: bool, tmp_path: Path) -> None:
    w = weights(128, 96, zeros, "pays")
    proto = model([node("MatMul", "x w", "h"), node("Tanh", "h", "y")], {"x": [7, 128]}, ["y"], {"w": w})
    artifact = compile_model(proto, "host", tmp_path / "net.so")
    assert artifact.verified == "passed" and not artifact.unscheduled
    (kernel,) = artifact.manifest["kernels"]  # with what follows
    assert kernel["rule"] == ("sparse" if sparse else "packed")
    assert (weights_in_memory(artifact) < 0.4 * w.nbytes) == sparse


@pytest.mark.parametrize(("rows", "zeros", "scattered"), [(49, 0.95, True), (49, 0.4, False), (1, 0.95, False)])
def test_zeros_here_and_there(rows: int, zeros: float, scattered: bool, tmp_path: Path) -> None:
    w = RNG.standard_normal((160, 160)).astype(np.float32)
    w[RNG.random(w.shape) < zeros] = 0
    proto = model([node("MatMul", "x w", "h"), node("Tanh", "h", "y")], {"x": [rows, 160]}, ["y"], {"w": w})
    artifact = compile_model(proto, "host", tmp_path / "net.so")
    assert artifact.verified == "passed" and not artifact.unscheduled
    found = [kernel["name"].startswith("scattered_product") for kernel in artifact.manifest["kernels"]]
    assert any(found) == scattered
    assert (weights_in_memory(artifact) < 0.2 * w.nbytes) == scattered


@given(
    st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500), st.sampled_from([t.name for t in list_targets()])
)
def test_tiles_cover_all_rows(rows: int, inputs: int, outputs: int, target: str) -> None:
    limits = limits_of(load_target(target))
    plan = Scattered.plan(rows + limits.lanes, inputs, outputs, inputs, limits)
    assert plan.width <= plan.rows and outputs % plan.shares == 0
    assert 2 * plan.vectors + 2 <= limits.registers


@given(st.integers(1, 9), st.integers(1, 40), st.floats(0, 1), st.integers(1, 50))
def test_compressed_weights_are_those_that_are_not_zero(inputs: int, outputs: int, zeros: float, rows: int) -> None:
    weight = RNG.standard_normal((inputs, outputs)).astype(np.float32)
    weight[RNG.random(weight.shape) < zeros] = 0
    values, places, starts = compress(weight, rows)
    found = np.zeros_like(weight)
    for output in range(outputs):
        mine = slice(starts[output], starts[output + 1])
        assert (mine.stop - mine.start) % 2 == 0
        np.add.at(found[:, output], places[mine] // rows, values[mine])
    np.testing.assert_array_equal(found, weight)


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
