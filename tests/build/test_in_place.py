"""Results in the memory of arguments: programs compute the same, in less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.build import extract
from compiler.runtime.loader import Model
from compiler.verify.reference import run_reference
from tests.models import model, node

RNG = np.random.default_rng(0)


def residual(channels: int = 32, rows: int = 168, again: bool = False) -> onnx.ModelProto:
    """Three products with what came before them added; with `again` the first sum is read at the end too."""
    shape = [1, rows, channels]
    weights = {f"w{i}": RNG.standard_normal((channels, channels)).astype(np.float32) / 8 for i in range(4)}
    nodes = [node("MatMul", "x w3", "s0")]
    for i in range(3):
        nodes += [node("MatMul", f"s{i} w{i}", f"m{i}"), node("Add", f"m{i} s{i}", f"a{i}")]
        nodes += [node("MatMul", f"a{i} w3", f"b{i}"), node("Add", f"b{i} s{i}", f"s{i + 1}")]
    nodes += [node("Add", "s3 s1", "y") if again else node("Relu", "s3", "y")]
    return model(nodes, {"x": shape}, ["y"], weights)


def compiled(proto: onnx.ModelProto, path: Path) -> dict[str, Any]:
    return dict(compile_model(proto, out=path, verify=False).manifest)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(("channels", "rows"), [(32, 168), (37, 25), (16, 1)])
def test_sums_overwrite_what_is_read_for_the_last_time(tmp_path: Path, channels: int, rows: int, again: bool) -> None:
    proto = residual(channels, rows, again)
    compiled(proto, tmp_path / "m.so")
    x = RNG.standard_normal((1, rows, channels)).astype(np.float32)
    kept = x.copy()
    for threads in (1, 2):
        with Model(tmp_path / "m.so", threads=threads) as loaded:
            for _ in range(2):
                result = loaded.run({"x": x})["y"]
                wanted = run_reference(proto, {"x": kept})[1]["y"]
                np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)
                np.testing.assert_array_equal(x, kept)


def test_it_takes_less_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = compiled(residual(), tmp_path / "shared.so")["memory"]["arena_bytes"]
    monkeypatch.setattr(extract, "offer_arguments", lambda program: None)
    apart = compiled(residual(), tmp_path / "apart.so")["memory"]["arena_bytes"]
    assert shared == apart * 2 // 3
