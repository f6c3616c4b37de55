"""The cache and models that only run on this machine: it keeps them whole, and --no-cache holds for them too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.pipeline import compile_model
from compiler.quantize import runner
from tests.models import mlp, random_inputs


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_nothing_is_looked_up_or_kept(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    proto = mlp()
    data = [{name: np.asarray(array) for name, array in random_inputs(proto, seed).items()} for seed in range(2)]
    for cache in (False, True):
        compile_model(
            proto, "host", tmp_path / "a.so", verify=False, cache=cache, calibration=data, precision=precision
        )
        assert (tmp_path / "edgec" / "objects").exists() == cache


def test_a_model_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    proto = onnx.shape_inference.infer_shapes(mlp())
    inputs = random_inputs(proto)
    compiled = []

    def count(*args: object, **kwargs: object) -> object:
        compiled.append(args)
        return compile_model(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "compile_model", count)
    results = []
    for extra, cache, times in (((), True, 1), ((), True, 1), (["h"], True, 2), ((), False, 3)):
        with runner.Runner(proto, extra, threads=1, cache=cache) as run:
            results.append(run(inputs))
        assert len(compiled) == times
    outputs = results[0].keys()
    assert all((found[name] == results[0][name]).all() for found in results for name in outputs)
