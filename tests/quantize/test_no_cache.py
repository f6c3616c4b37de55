"""Without the cache of compiled kernels, models that only run on this machine do without it too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.pipeline import compile_model
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
