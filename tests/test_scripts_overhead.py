"""scripts/bench_overhead.py: its report has all parts. What it measures is not tested."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.models import mlp

SCRIPT = Path(__file__).parent.parent / "scripts" / "bench_overhead.py"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_report(tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), str(tmp_path / "mlp.onnx"), "--json", str(out), "--seconds", "0.02"]
    done = subprocess.run([*command, "--chain", "2", "9"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["kernel_call"]["kernels"] == [2, 9]
    assert {row["asleep"] for row in report["launches"]} == {False, True}
    for row in report["launches"]:
        assert row["median_seconds"] >= row["min_seconds"] > 0
    assert [row["model"] for row in report["python"]][1] == "mlp"
    for row in report["python"]:
        assert row["edgec"]["min_seconds"] > 0 and row["onnxruntime"]["min_seconds"] > 0
    assert "| mlp |" in done.stdout and "a kernel's call: " in done.stdout
