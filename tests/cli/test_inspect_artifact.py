"""`edgec inspect` of an artifact: its kernels; and where `edgec run` and `bench` run them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler import compile_model
from tests.cli.test_cli import edgec
from tests.models import model, node


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products [32, 64] x [64, 64] with weights of their own, and a slice of 8 rows."""
    weights = {f"w{i}": np.random.default_rng(i).standard_normal((64, 64), np.float32) for i in range(2)}
    nodes = [
        node("MatMul", "x w0", "a"),
        node("Relu", "a", "b"),
        node("MatMul", "b w1", "c"),
        node("Slice", "c begin end", "y"),
    ]
    constants = {**weights, "begin": np.array([4]), "end": np.array([12])}
    path = tmp_path_factory.mktemp("inspect") / "net.so"
    return compile_model(model(nodes, {"x": [32, 64]}, ["y"], constants), "host", path, verify=False).path


def test_kernels_of_an_artifact(artifact: Path) -> None:
    done = edgec("inspect", artifact, "--json")
    kernels = json.loads(done.stdout)["kernels"]
    assert sum(kernel["share"] for kernel in kernels) == pytest.approx(1)
    assert [k["share"] for k in kernels] == sorted((k["share"] for k in kernels), reverse=True)
    first = max(kernels, key=lambda kernel: kernel["flops"])
    assert first["flops"] == 32 * 64 * (2 * 64 + 1)  # with the activation
    assert (first["bytes_read"], first["bytes_written"]) == (4 * (32 + 64) * 64, 4 * 32 * 64)
    assert first["rule"] == "packed"
    assert all(kernel["estimated_seconds"] > 0 and kernel["calls"] >= 1 for kernel in kernels)

    lines = edgec("inspect", artifact).stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("SHARE"))
    assert lines[at].split() == ["SHARE", "CALLS", "MFLOP", "READ", "WRITTEN", "RULE", "KERNEL"]
    rows = [line.split() for line in lines[at + 1 :]]
    assert [row[-1] for row in rows] == [kernel["name"] for kernel in kernels]
    row = next(row for row in rows if row[-1] == first["name"])
    assert row[1:7] == ["1", "0.264", "24.0", "KiB", "8.0", "KiB"]


def test_zeros_among_the_weights(tmp_path: Path) -> None:
    weights = np.ones((8, 8), np.float32)
    weights[::2] = 0
    proto = model([node("MatMul", "x w", "y", name="half")], {"x": [1, 8]}, ["y"], {"w": weights})
    path = compile_model(proto, "host", tmp_path / "half.so", verify=False).path
    sparsity = json.loads(edgec("inspect", path, "--json").stdout)["model"]["sparsity"]
    assert sparsity["zeros"] == 0.5 and sparsity["layers"][0]["name"] == "MatMul 'half'"
    assert "50.0% of 64 weights are zero" in edgec("inspect", path).stdout


def test_dead_channels_are_dropped_and_told(tmp_path: Path) -> None:
    v = np.ones((8, 21), np.float32)
    v[:, 5:9] = 0
    nodes = [node("MatMul", "x v", "a", name="up"), node("Relu", "a", "h"), node("MatMul", "h w", "y")]
    onnx.save(model(nodes, {"x": [2, 8]}, ["y"], {"v": v, "w": np.ones((21, 8), np.float32)}), tmp_path / "dead.onnx")
    done = edgec("compile", tmp_path / "dead.onnx", "-o", tmp_path / "dead.so")
    assert done.returncode == 0, done.stderr
    assert "dropped 4 dead output channels of 1 layers" in done.stdout
    done = edgec("compile", tmp_path / "dead.onnx", "-o", tmp_path / "dead.so", "--json")
    assert json.loads(done.stdout)["dropped_channels"] == {"MatMul 'up'": [21, 17]}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system lets no program choose its CPUs")
def test_affinity(artifact: Path, tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    assert edgec("run", artifact, "--affinity", cpu).returncode == 0
    done = edgec("bench", artifact, "--affinity", cpu, "--seconds", 0, "--json", tmp_path / "b.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "b.json").read_text())["threads"] == 1
    for command in ("run", "bench"):
        for options, words in ((("--affinity", "fast"), "`little`"), (("--threads", 0), "0")):
            done = edgec(command, artifact, *options)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False)
            assert words in done.stderr
