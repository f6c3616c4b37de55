"""scripts/corpus_table.py on a corpus of two tiny models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scripts import corpus_table


def make_corpus(folder: Path, scale: float) -> Path:
    """A Relu whose golden output is `scale` times the right one, and an operator that nobody has."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    entries: list[dict[str, Any]] = []
    for name, operator, domain in (("relu", "Relu", ""), ("strange", "Strange", "ai.onnx.ml")):
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], domain=domain)], name, [x], [y])
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / f"{name}.onnx")
        given = np.array([[-1, 0, 1], [2, -3, 4]], np.float32)
        arrays = {"in_names": ["x"], "in_0": given, "out_names": ["y"], "out_0": np.maximum(given, 0) * scale}
        np.savez(folder / f"{name}.npz", **{k: np.asarray(v) for k, v in arrays.items()})
        tensor = {"name": "x", "golden_shape": [2, 3], "dynamic": []}
        entry = {
            "file": f"{name}.onnx",
            "quantised": False,
            "op_histogram": {".".join(filter(None, (domain, operator))): 1},
        }
        entries.append(entry | {"inputs": [tensor], "golden": {"file": f"{name}.npz"}})
    (folder / "catalog.json").write_text(json.dumps({"models": entries}))
    return folder


@pytest.mark.parametrize(("scale", "status"), [(1, "pass"), (2, "differs")])
def test_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: np.float32, status: str) -> None:
    out = tmp_path / "out"
    folder = make_corpus(tmp_path, np.float32(scale))
    arguments = ["corpus_table.py", str(folder), "--target", "host", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert corpus_table.main() == 1
    relu, strange = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert relu["status"] == status
    assert relu["artifact_bytes"] > 1000
    assert strange["status"] == "refused"
    assert "Strange" in strange["reason"]
    table = out.with_suffix(".md").read_text()
    assert f"| relu.onnx | {status}" in table
    assert "| strange.onnx | refused" in table


def die(*_: object) -> None:
    os._exit(3)


def test_a_dead_process_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_table, "_check_model", die)
    entry = {"file": "a.onnx", "quantised": False, "op_histogram": {}, "inputs": []}
    workers = corpus_table.Workers(60)
    row = workers.check(tmp_path, entry, "host")
    workers.close()
    assert (row["status"], row["reason"]) == ("crashed", "the process died")


def test_all_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_corpus(tmp_path, np.float32(1))
    only = ["corpus_table.py", str(folder), "--target", "host", "--only", "relu", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", only)
    assert corpus_table.main() == 0
