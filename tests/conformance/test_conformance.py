"""The cases of the onnx package: those that pass must go on passing, and those that begin to must be noted."""

from __future__ import annotations

import platform
import subprocess
import sys

import onnx
import pytest

from scripts.conformance import EXPECTATIONS
from scripts.onnx_cases.reasons import Expectations

# Each begins with collecting all cases, which takes four seconds.
SHARDS = 4


@pytest.mark.parametrize("shard", range(SHARDS))
def test_cases_pass_as_expected(shard: int) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the expectations are of x86-64")
    known = Expectations.load(EXPECTATIONS).onnx
    if onnx.__version__ != known:
        pytest.skip(f"the expectations are of onnx {known}, not {onnx.__version__}: scripts/conformance.py --update")
    command = [sys.executable, str(EXPECTATIONS.parents[2] / "scripts" / "conformance.py")]
    result = subprocess.run([*command, "--shard", f"{shard}/{SHARDS}"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-8000:]
