"""The commands on classical models: any number of rows, strings, trees, labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from scripts.classical.forest import Kind, ensemble
from scripts.classical.special import model_of
from tests.cli.test_cli import edgec

KIND = Kind(trees=5, depth=3, features=4, targets=3, positive=True, per_leaf=(3, 3))
FLOAT, STRING = onnx.TensorProto.FLOAT, onnx.TensorProto.STRING


def classifier() -> onnx.ModelProto:
    """Five trees, rows of 4 numbers, labels that are strings."""
    tested = ensemble(KIND, "TreeEnsembleClassifier", classlabels_strings=["ash", "elm", "oak"])
    return model_of([tested], np.zeros((1, KIND.features), np.float32), {"label": STRING, "scores": FLOAT})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("classical")
    onnx.save(classifier(), folder / "forest.onnx")
    done = edgec("compile", "forest.onnx", "-o", "forest.so", "--no-verify", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "shapes    any number of rows\n" in done.stdout
    return folder / "forest.onnx", folder / "forest.so"


def run(*arguments: object, status: int = 0) -> str:
    done = edgec(*arguments)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def lines(text: str) -> Mapping[str, str]:
    """The rest of each line by its first word."""
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}


@pytest.mark.parametrize("which", [0, 1])
def test_inspect(built: tuple[Path, Path], which: int) -> None:
    text = run("inspect", built[which])
    found = lines(text)
    count = len(next(a for a in classifier().graph.node[0].attribute if a.name == "nodes_treeids").ints)
    assert found["forest"] == f"5 trees, {count} nodes"
    assert found["rows"] == "any number, N below" + ", taken in blocks of 1, 8, 64, 512" * which
    assert found["strings"] == "3 known to the model"
    assert found["input"] == "X float32 Nx4" and found["output"] == "scores float32 Nx3"
    assert "label string N" in " ".join(text.split()) and "--shape" not in text


def test_inspect_as_json(built: tuple[Path, Path]) -> None:
    of_model, of_artifact = (json.loads(run("inspect", path, "--json")) for path in built)
    assert of_model["rows"] == 512 and of_model["strings"] == 3 and of_model["dynamic"] is None
    assert of_artifact["rows"] == [0, 0] and of_artifact["strings"] == ["ash", "elm", "oak"]
    assert of_model["forest"] == of_artifact["model"]["forest"]


def test_rows_along_other_axes(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Transpose", ["X"], ["turned"], perm=[1, 0]),
        onnx.helper.make_node("Reshape", ["X", "two"], ["halves"]),
    ]
    proto = model_of(nodes, np.zeros((1, 4), np.float32), {"turned": FLOAT, "halves": FLOAT})
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 2]), "two"))
    onnx.save(proto, tmp_path / "net.onnx")
    run("compile", tmp_path / "net.onnx", "-o", tmp_path / "net.so", "--no-verify")
    for path in ("net.onnx", "net.so"):
        text = " ".join(run("inspect", tmp_path / path).split())
        assert "output turned float32 4xN output halves float32 2Nx2" in text, text


def test_a_model_without_all_that(tmp_path: Path) -> None:
    helper = onnx.helper
    softmax = helper.make_node("Softmax", ["X"], ["y"], axis=0)  # down the rows, which meet
    onnx.save(model_of([softmax], np.zeros((1, 4), np.float32), {"y": FLOAT}), tmp_path / "net.onnx")
    text = run("inspect", tmp_path / "net.onnx")
    assert not lines(text).keys() & {"forest", "rows", "strings"}
    assert "--shape X=1x4" in text and lines(text)["output"] == "y float32 unknown"


def test_run_on_some_rows(built: tuple[Path, Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", X=np.zeros((11, 4), np.float32))
    text = run("run", built[1], "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert lines(text)["label"].startswith("string 11 ")
    with np.load(tmp_path / "out.npz") as results:
        assert results["label"].tolist() == results["label"].tolist()[:1] * 11
        assert results["label"][0] in ("ash", "elm", "oak")


def test_bench(built: tuple[Path, Path], tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    for options, rows in ((("--rows", 7), 7), ((), 512)):
        text = run("bench", built[1], "--seconds", 0, "--json", report, *options)
        assert f" runs of {rows} rows" in text and json.loads(report.read_text())["rows"] == rows
    assert "leave --rows out" in run("bench", built[1], "--rows", 7, "--profile", status=2)
    assert "v3_forest" in run("bench", built[1], "--seconds", 0, "--profile")


def test_verify_tells_how_many_labels_are_equal(built: tuple[Path, Path], tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    np.savez(tmp_path / "in.npz", X=x)
    found = lines(run("verify", built[1], built[0], "--input", tmp_path / "in.npz"))
    assert found["label:"] == "the same label for 40 of 40 samples (100.00%)" and "PASSED" in found

    other = classifier()
    labels: Any = next(a for a in other.graph.node[0].attribute if a.name == "classlabels_strings").strings
    labels[1], labels[2] = labels[2], labels[1]
    onnx.save(other, tmp_path / "other.onnx")
    text = run("verify", built[1], tmp_path / "other.onnx", "--input", tmp_path / "in.npz", "--json", status=1)
    label, scores = json.loads(text[text.index("{") :])["outputs"]
    assert label["equal"] == 1 - label["error"] and 0 < label["equal"] < 1 and not label["ok"]
    assert scores["equal"] is None and scores["ok"]
