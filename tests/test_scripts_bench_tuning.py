"""scripts/bench_tuning.py: what it makes of results, and one model from end to end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from scripts import bench_tuning
from scripts.bench_tuning import early_share, gain_of, markdown
from tests.networks import convnet


def row(ratio: float, applied: bool = True, curve: Any = ()) -> dict[str, Any]:
    steps = [{"elapsed": at, "budget": 8.0, "untuned": 1.0, "best": best} for at, best in curve]
    result = {"untuned": 1e-3, "tuned": 1e-3 * ratio, "ratio": ratio, "applied": applied, "trials": 5, "bound": 1.2}
    result["kernels"] = [{}]
    made = {"model": "net", "precision": "fp32", "known": 0, "budget": 10.0, "seconds": 9.0}
    return made | {"result": result | {"curve": steps}}


def test_the_share_that_was_gained_early() -> None:
    assert early_share(row(0.5, curve=[(1.0, 0.9), (2.9, 0.8), (3.1, 0.7), (8.0, 0.6)])) == pytest.approx(0.5)
    assert early_share(row(0.5, curve=[(4.0, 0.6)])) == 0.0
    assert early_share(row(1.0, curve=[(1.0, 1.0)])) is None and early_share(row(1.0)) is None


def test_what_was_not_applied_gains_nothing() -> None:
    assert gain_of(row(0.5)) == 2.0 and gain_of(row(1.5, applied=False)) == 1.0
    table = markdown([row(0.5), row(1.5, applied=False), {"model": "bad", "precision": "int8", "reason": "it is bad"}])
    assert "| fp32 | 2 | 1.414 | 1.000 |" in table and "bad" in table and "it is bad" in table


def test_a_model_is_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(convnet(), tmp_path / "net.onnx")
    given = ["net.onnx", "--budget", "60s", "--precisions", "fp32", "--logs", "logs", "--out", "out"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench_tuning.py", *given])
    bench_tuning.main()
    (made,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert made["result"]["trials"] > 0 and list((tmp_path / "logs").rglob("*.jsonl"))
    assert "| net | fp32 |" in (tmp_path / "out.md").read_text()
