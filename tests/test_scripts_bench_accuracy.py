"""scripts/bench_accuracy.py on a corpus of tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.errors import UserError
from scripts import bench_accuracy

pytest.importorskip("onnxruntime")

METRICS = """
import json, os
import numpy as np

def rows(root):
    for number in range(12):
        yield np.random.default_rng(number).standard_normal((1, 8)).astype(np.float32), number

def top1(run, root):
    seen, equal = [], 0
    for row, number in rows(root):
        seen.append(number)
        equal += int(np.argmax(run({"x": row})[0]) == np.argmax(row[0, :4]))
    return equal / len(seen), len(seen), {}

def loose(run, root):
    return float(sum(run({"x": np.full((1, 8), value, np.float32)})[0].sum() for value in (1, 2))), 2, {}

def growing(run, root):
    return float(sum(run({"x": np.ones((n, 8), np.float32)})[0].sum() for n in (1, 2))), 2, {}

METRICS = {"top1": top1, "loose": loose, "growing": growing}
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The first four of eight numbers, as scores of classes."""
    weights = numpy_helper.from_array(np.eye(8, 4, dtype=np.float32), "w")
    shapes = {"x": ["n", 8], "y": ["n", 4]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "first", [x], [y], [weights])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "first.onnx"
    )
    entries = [
        {"file": "first.onnx", "quantised": False, "metric": {"fn": name}} for name in ("top1", "loose", "growing")
    ]
    (tmp_path / "catalog.json").write_text(json.dumps({"models": [*entries, {"file": "none.onnx", "metric": None}]}))
    (tmp_path / "metrics.py").write_text(METRICS)
    return tmp_path


def test_scores_by_precision(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    given = ["bench_accuracy.py", str(corpus), "--precisions", "int8", "--samples", "4", "--readers", "rows"]
    monkeypatch.setattr("sys.argv", [*given, "--out", str(out)])
    assert bench_accuracy.main() == 0
    labelled, loose, growing = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert (labelled["scored"], labelled["samples"], labelled["halves"]) == (6, 4, True)
    assert (loose["scored"], loose["samples"], loose["halves"]) == (2, 2, False)
    assert "differ from run to run" in growing["reason"]
    for runtime in ("onnxruntime", "edgec fp32", "edgec int8", "onnxruntime int8"):
        assert labelled["results"][runtime]["score"] == 1.0
    exact, rounded = (labelled["results"][f"edgec {p}"]["outputs"]["y"] for p in ("fp32", "int8"))
    assert exact["mean_difference"] < 1e-6 < rounded["mean_difference"] < 0.05
    assert labelled["results"]["edgec int8"]["labels"] == 1.0
    table = out.with_suffix(".md").read_text()
    assert "| first | top1 | 6 | 4 others | 1.0000 | 1.0000 | 1.0000 | 1.0000 |" in table
    assert "| first | loose | 2 | 2 of them | 12.0000 |" in table


def test_each_half_is_of_every_other_sample(corpus: Path) -> None:
    entries, data = bench_accuracy.read_corpus(corpus, ["rows"], most=2)
    assert [entry["metric"]["fn"] for entry in entries] == ["top1", "loose", "growing"]
    for part, expected in enumerate(([0, 2], [1, 3])):
        data.part = part
        assert [number for _, number in data.module.rows("")] == expected  # a generator
        assert data.half(lambda: list(range(9)))() == expected
        arrays = data.half(lambda: (np.arange(9), np.arange(9) + 10))()
        repeated = np.resize(expected, 9)
        assert [one.tolist() for one in arrays] == [repeated.tolist(), (repeated + 10).tolist()]


def test_a_folder_without_a_corpus_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "catalog.json").write_text("{}")
    with pytest.raises(UserError, match=r"there is no metrics\.py"):
        bench_accuracy.read_corpus(tmp_path, [])
    monkeypatch.setattr("sys.argv", ["bench_accuracy.py", str(tmp_path / "missing")])
    assert bench_accuracy.main() == 2
    assert "there is no catalog.json" in capsys.readouterr().err
