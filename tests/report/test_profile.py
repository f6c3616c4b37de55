"""Times of kernels: added up by kernel, held against the machine's limits, and taken from a real artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler import compile_model
from compiler.report.profile import COPY, profile, summarize
from compiler.report.rates import Level, Rates
from compiler.runtime.loader import LoadError
from tests.models import mlp

RATES = Rates(1, 100, (Level("L2", 1000, 50), Level("memory", None, 10)))
KERNELS: list[dict[str, Any]] = [
    {"name": "dense", "rule": "packed", "calls": 2, "flops": 1000, "bytes": 500},
    {"name": "relu", "rule": "injective", "calls": 1, "flops": 10, "bytes": 10000},
    {"name": "odd", "rule": "none", "calls": 1},
]


def test_steps_are_added_up() -> None:
    manifest = {"kernels": KERNELS, "steps": [0, 1, 0, -1, 2]}
    dense, relu, odd, copy = summarize(manifest, np.array([3e-6, 2e-6, 1e-6, 1e-9, 1e-8]), RATES)
    assert (dense.kernel, dense.rule, dense.calls, dense.seconds) == ("dense", "packed", 2, pytest.approx(4e-6))
    assert (dense.flops, dense.moved) == (2000, 1000)
    assert dense.share == pytest.approx(4e-6 / 6.011e-6)
    assert dense.roof == pytest.approx(2e-8 / 4e-6)  # 1,000 operations take 10 ns
    assert relu.roof == pytest.approx(1e-6 / 2e-6)  # 10,000 bytes, more than L2 holds
    assert (odd.kernel, odd.flops, odd.moved, odd.roof) == ("odd", None, None, None)
    assert (copy.kernel, copy.calls) == (COPY, 1)
    assert summarize(manifest, np.ones(5), None)[0].roof is None


def test_nothing_to_run() -> None:
    assert summarize({"kernels": [], "steps": []}, np.zeros(0), RATES) == []


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_model(mlp(), "host", tmp_path_factory.mktemp("profile") / "mlp.so", verify=False).path


def test_an_artifact(artifact: Path) -> None:
    from compiler.runtime.loader import read_manifest

    kernels = profile(artifact, threads=1, seconds=0)
    calls = {kernel["name"]: kernel["calls"] for kernel in read_manifest(artifact)["kernels"]}
    assert {kernel.kernel: kernel.calls for kernel in kernels} == calls
    assert sum(kernel.share for kernel in kernels) == pytest.approx(1)
    assert all(kernel.seconds > 0 for kernel in kernels)
    assert [k.seconds for k in kernels] == sorted((k.seconds for k in kernels), reverse=True)


def test_an_artifact_of_an_older_edgec(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compiler.report import profile as module

    class Older(module.Model):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            del self.manifest["steps"]

    monkeypatch.setattr(module, "Model", Older)
    with pytest.raises(LoadError, match="compile it again"):
        profile(artifact)
