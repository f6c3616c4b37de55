"""scripts/bench_arm: a whole run where an emulator is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.files import cache_folder
from scripts import bench_arm
from tests.models import model, node

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "bench_arm"
CACHE = cache_folder() / "bench_arm"


def test_help_is_the_comment(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([SCRIPT, "--help"], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.startswith("Instructions that models take")
    assert "set -e" not in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.arm
@pytest.mark.slow
def test_counts_every_multiply_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = next(CACHE.glob("onnxruntime-*"), None)
    if packages is None or not (CACHE / "qemu").is_dir():
        pytest.skip(f"no qemu with plugins in {CACHE} (scripts/bench_arm makes one)")
    # Enough work for parallel loops, whose bodies have no symbol; a tile divides the sizes.
    weight = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    onnx.save(model([node("MatMul", "x w", "y")], {"x": [32, 64]}, ["y"], {"w": weight}), tmp_path / "product.onnx")
    arguments = ["--qemu", str(CACHE / "qemu"), "--packages", str(packages), "--json", str(tmp_path / "out.json")]
    arguments += ["--target", "raspberry-pi-4", "--kernels", str(tmp_path / "product.onnx")]
    monkeypatch.setattr("sys.argv", ["bench_arm", *arguments])
    bench_arm.main()
    (row,) = json.loads((tmp_path / "out.json").read_text())
    products = 32 * 64 * 64 // 4  # of four lanes
    assert sum(kernel["classes"]["multiply-add"] for kernel in row["kernels"] if kernel["rule"]) == products
    assert row["onnxruntime"]["classes"]["multiply-add"] >= products
    assert row["edgec"]["instructions"] == sum(row["edgec"]["classes"].values())
    assert row["edgec"]["files"]["product.so"] == sum(kernel["instructions"] for kernel in row["kernels"])
    assert "| product | raspberry-pi-4 |" in capsys.readouterr().out
