"""scripts/bench_peers.py: what it finds, whom it times, and what it makes of the times."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scripts.bench_peers import bench, find_models, make_report
from scripts.peers import runtimes
from scripts.peers.measure import Plan, bench_model, disagreement, fix_model, take_turns
from scripts.peers.runtimes import Case, Peer, Refused
from scripts.peers.table import geometric_mean, markdown, not_measured, ratios, summarize


def scaling_model(batch: int | str = 2, listed: bool = False) -> onnx.ModelProto:
    """y = x * w, [batch, 3]; `listed`: the weights are listed among the inputs, as old exporters do."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3]) for name in "xy")
    weights = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
    inputs = [x, helper.make_tensor_value_info("w", TensorProto.FLOAT, [3])] if listed else [x]
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "scale", inputs, [y], [weights])
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=3 if listed else 8)


def times(seconds: float) -> dict[str, float]:
    return {"min": seconds / 2, "p25": seconds, "median": seconds, "p75": seconds, "runs": 9, "cores": 1}


ROWS: list[dict[str, Any]] = [
    {"model": "a", "threads": 1, "results": {"edgec": times(1), "onnxruntime": times(2), "openvino": times(4)}},
    {"model": "b", "threads": 1, "results": {"edgec": times(2), "onnxruntime": times(1), "openvino": {"reason": "no"}}},
    {"model": "a", "threads": 2, "results": {"edgec": times(1), "onnxruntime": times(3), "openvino": times(2)}},
    {"model": "c", "reason": "cannot be compiled"},
]


def test_models_are_found(tmp_path: Path) -> None:
    corpus, folder, single = tmp_path / "corpus", tmp_path / "folder", tmp_path / "single.onnx"
    inputs = [
        {"name": "x", "golden_shape": [1, 3], "dynamic": [0]},
        {"name": "z", "golden_shape": [2], "dynamic": []},
    ]
    models = [{"file": f"{name}.onnx", "quantised": name == "int8", "inputs": inputs} for name in ("float", "int8")]
    for path in (corpus, folder / "below"):
        path.mkdir(parents=True)
    (corpus / "catalog.json").write_text(json.dumps({"models": models}))
    for name in ("b.onnx", "below/a.onnx", "notes.txt"):
        (folder / name).touch()
    shapes = {"x": (4,)}
    assert find_models([corpus, folder, single], shapes) == [
        (corpus / "float.onnx", {"x": (1, 3)}),
        (folder / "b.onnx", shapes),
        (folder / "below/a.onnx", shapes),
        (single, shapes),
    ]


def test_geometric_mean() -> None:
    assert geometric_mean([2, 8]) == pytest.approx(4)


def test_ratios() -> None:
    assert ratios(ROWS[0], "median") == {"onnxruntime": 2, "openvino": 4, "best peer": 2}
    assert ratios(ROWS[1], "min") == {"onnxruntime": 0.5, "best peer": 0.5}
    assert ratios(ROWS[3], "median") == {}
    assert ratios({"results": {"edgec": times(1), "openvino": {"reason": "no"}}}, "median") == {}


def test_summary() -> None:
    summary = {(entry["threads"], entry["peer"]): entry for entry in summarize(ROWS, "median")}
    assert len(summary) == 6
    one = summary[1, "onnxruntime"]
    assert (one["models"], one["least"], one["least_model"], one["won"]) == (2, 0.5, "b", 1)
    assert one["geometric_mean"] == pytest.approx(1)
    assert (summary[1, "openvino"]["models"], summary[1, "openvino"]["least"]) == (1, 4)
    assert (summary[2, "best peer"]["least"], summary[2, "best peer"]["geometric_mean"]) == (2, pytest.approx(2))


def test_table() -> None:
    plan = Plan((1, 2), ("onnxruntime", "openvino", "mnn"), 1)
    lines = markdown(make_report(ROWS, plan, "median")).splitlines()
    assert "| a | 1 | 1000 | 2000 | 4000 | 2.00 | 4.00 | 2.00 |" in lines
    assert "| b | 1 | 2000 | 1000 | – | 0.50 | – | 0.50 |" in lines
    assert "| 1 | best peer | 2 | 1.00 | 0.50 | b | 1 |" in lines
    assert "mnn" not in lines[0] and lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "- c: edgec: cannot be compiled" in lines and "- b: openvino: no" in lines


def test_reasons_are_told_once() -> None:
    rows = [{"model": m, "threads": t, "results": {"tvm": {"reason": "no"}}} for m in "ab" for t in (1, 2)]
    assert not_measured(rows) == ["a, b: tvm: no"]


def test_agreement() -> None:
    ours = [np.array([1, 2], np.float32), np.array([3], np.int64)]
    near = [np.array([1, 2.0001], np.float32), np.array([3], np.int32)]
    assert disagreement(["y", "i"], ours, near) is None
    assert "1 results, not 2" in str(disagreement(["y", "i"], ours, near[:1]))
    wrong = [np.array([1, 2.1], np.float32), near[1]]
    assert "y: error" in str(disagreement(["y", "i"], ours, wrong))
    assert "i: 0.00% equal" in str(disagreement(["y", "i"], ours, [near[0], np.array([4], np.int32)]))
    assert "float64" in str(disagreement(["y", "i"], ours, [near[0].astype(np.float64), near[1]]))


def test_turns_alternate() -> None:
    order: list[str] = []
    runs: dict[str, Callable[[], object]] = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    samples = take_turns(runs, 0.01, turn=0.001, pause=0)
    groups = [name for name, _ in groupby(order)]
    assert groups == ["a", "b"] * (len(groups) // 2)
    for name, taken in samples.items():
        turns = groups.count(name)
        assert len(taken.seconds) == order.count(name) - turns >= 7  # the first run of each turn is not counted
        assert len(taken.processor) == len(taken.cores) == turns
        summary = taken.summary()
        assert summary["min"] <= summary["p25"] <= summary["median"] <= summary["p75"]
        assert 0 < summary["processor"] < sum(taken.seconds)


def test_a_slow_peer_ends() -> None:
    calls: list[int] = []
    samples = take_turns({"slow": lambda: calls.append(0)}, 0, turn=0, pause=0)
    assert len(samples["slow"].seconds) == 1  # four times no seconds are over at once


def test_everyone_gets_constant_weights_and_static_shapes() -> None:
    fixed = fix_model(scaling_model("N", listed=True), {"x": (5, 3)})
    assert [value.name for value in fixed.graph.input] == ["x"] and fixed.ir_version == 4
    assert [dim.dim_value for dim in fixed.graph.input[0].type.tensor_type.shape.dim] == [5, 3]
    dims = fix_model(scaling_model("N"), {}).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [1, 3]
    dims = fix_model(scaling_model("N"), {}, open_rows=True).graph.input[0].type.tensor_type.shape.dim
    assert not dims[0].HasField("dim_value") and dims[1].dim_value == 3
    kept = scaling_model(4)
    assert fix_model(kept, {}) == kept


def peer(load: Callable[[Case], Callable[[], Any]], module: str = "json") -> dict[str, Peer]:
    return {"it": Peer("it", "its-package", (module,), load)}


CASE = Case(Path("none.onnx"), {}, {}, 1, Path())


def test_a_missing_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "PEERS", peer(lambda case: list, "no_such_module"))
    with pytest.raises(Refused, match="not installed: pip install its-package"):
        runtimes.load("it", CASE)


def test_a_peer_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: Case) -> Callable[[], Any]:
        raise RuntimeError("no\n  such operator")

    monkeypatch.setattr(runtimes, "PEERS", peer(fail))
    with pytest.raises(Refused, match=r"^RuntimeError: no such operator$"):
        runtimes.load("it", CASE)


def test_a_converter_that_fails() -> None:
    with pytest.raises(Refused, match="its converter failed: last words"):
        runtimes._convert(["sh", "-c", "echo first; echo last words >&2; exit 1"])


def test_wrong_results_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(case: Case) -> Callable[[], Any]:
        return lambda: [case.inputs["x"] * 2]

    monkeypatch.setattr(runtimes, "PEERS", peer(load))
    onnx.save(scaling_model(), tmp_path / "scale.onnx")
    [row] = bench_model(tmp_path / "scale.onnx", {}, Plan((1,), ("it",), 0.01), tmp_path)
    assert "y: error" in row["results"]["it"]["reason"] and "median" not in row["results"]["it"]
    assert row["results"]["edgec"]["runs"] >= 1


def test_one_artifact_for_each_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def load(case: Case) -> Callable[[], Any]:
        asked.append(case.inputs["x"].shape)
        return lambda: [case.inputs["x"] * np.array([1, 2, 3], np.float32)]

    monkeypatch.setattr(runtimes, "PEERS", peer(load))
    path = tmp_path / "scale.onnx"
    onnx.save(scaling_model("N"), path)
    rows = bench_model(path, {}, Plan((1, 2), ("it",), 0.01, rows=(1, 1000)), tmp_path)
    assert asked == [(1, 3), (1, 3), (1000, 3), (1000, 3)]
    assert [(row["model"], row["rows"], row["threads"]) for row in rows] == [
        ("scale, 1 row", 1, 1),
        ("scale, 1 row", 1, 2),
        ("scale, 1,000 rows", 1000, 1),
        ("scale, 1,000 rows", 1000, 2),
    ]
    sizes = {"model": path.stat().st_size, "edgec": (tmp_path / "model.so").stat().st_size}
    assert all(row["bytes"] == sizes and row["results"]["it"]["runs"] for row in rows)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "mnn", "ncnn", "tvm"])
def test_peers_agree(tmp_path: Path, name: str) -> None:
    if runtimes.PEERS[name].missing:
        pytest.skip(runtimes.PEERS[name].missing)
    onnx.save(scaling_model(1), tmp_path / "scale.onnx")
    x = np.array([[1, -2, 3]], np.float32)
    before = process_cores()
    run = runtimes.load(name, Case(tmp_path / "scale.onnx", {"x": x}, {"y": (1, 3)}, 1, tmp_path))
    assert disagreement(["y"], [x * [1, 2, 3]], [np.asarray(run()[0], np.float64)]) is None
    assert process_cores() == before  # all of them run in one thread, in turns


def process_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def test_a_model_that_cannot_be_compiled_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    [row] = bench(path, {}, Plan((1,), ("onnxruntime",), 0.01))
    assert row["model"] == "broken" and row["reason"]


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from scripts.peers.pictures import draw

    kernels = [
        {"kernel": "dense", "seconds": 1e-3, "share": 0.9, "flops": 1e8, "moved": 1e6},
        {"kernel": "reorder", "seconds": 1e-4, "share": 0.1, "flops": 0, "moved": 1e5},
        {"kernel": "unknown", "seconds": 0, "share": 0, "flops": None, "moved": None},
    ]
    levels = [{"name": "L2", "capacity": 1 << 20, "gbs": 200}, {"name": "memory", "capacity": None, "gbs": 20}]
    rows = [{**row, "kernels": kernels} for row in ROWS if row.get("threads") == 1]
    report = {"rates": {1: {"gflops": 100, "levels": levels}}, "rows": rows, "statistic": "median"}
    names = {path.name: path for path in draw(report, tmp_path / "pictures")}
    assert set(names) == {"ratios-1.svg", "roofline-a-1.svg", "roofline-b-1.svg"}
    text = names["roofline-a-1.svg"].read_text()
    assert "dense (90%)" in text and "memory 20 GB/s" in text and "reorder" not in text
    assert "openvino" in names["ratios-1.svg"].read_text()
