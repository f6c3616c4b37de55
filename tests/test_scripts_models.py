"""scripts/standard_models.py: the networks have the published sizes, and compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from scripts import standard_models

# Millions of parameters and billions of multiply-adds, as published.
PUBLISHED = {
    "resnet18": (11.69, 1.81),
    "resnet50": (25.56, 4.09),
    "mobilenet_v2": (3.50, 0.30),
    "mobilenet_v3_large": (5.48, 0.217),
    "efficientnet_lite0": (4.65, 0.385),
    "yolov8n": (3.15, 8.7 / 2),
    "vit_tiny": (5.72, 1.26),
    "bert_tiny": (4.39, None),
}


def random_inputs(session: Any, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    inputs = {}
    for value in session.get_inputs():
        if value.type == "tensor(float)":
            inputs[value.name] = rng.standard_normal(value.shape, np.float32)
        else:
            inputs[value.name] = rng.integers(0, 2, value.shape)
    return inputs


@pytest.mark.parametrize("name", standard_models.MODELS)
def test_size_is_the_published_one(name: str) -> None:
    model, macs = standard_models.build(name)
    parameters, billions = PUBLISHED[name]
    assert standard_models.count_parameters(model) / 1e6 == pytest.approx(parameters, rel=0.01)
    if billions:
        assert macs / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", "yolov8n", "vit_tiny", "bert_tiny"])
def test_signal_comes_through(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, _ = standard_models.build(name)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    first, second = (session.run(None, random_inputs(session, seed)) for seed in (1, 2))
    for a, b in zip(first, second, strict=True):
        assert np.isfinite(a).all()
        assert 0.1 < a.std() < 100
        assert (a - b).std() > 0.01 * a.std()


def test_batch_norm_is_kept_in_one_of_them() -> None:
    kept = {
        name for name in standard_models.MODELS
        if any(node.op_type == "BatchNormalization" for node in standard_models.build(name)[0].graph.node)
    }  # fmt: skip
    assert kept == {"resnet18"}


def test_writes_the_same_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        monkeypatch.setattr("sys.argv", ["standard_models.py", str(folder), "--only", "mobilenet_v2"])
        standard_models.main()
        assert [path.name for path in folder.iterdir()] == ["mobilenet_v2.onnx"]
        contents.append((folder / "mobilenet_v2.onnx").read_bytes())
    assert contents[0] == contents[1]
    onnx.checker.check_model(onnx.load_from_string(contents[0]), full_check=True)
