"""Weights in files beside the model: only inside its folder, only of the right size."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.frontend.checks import prepared, refusal, run_prepared
from tests.models import model, node

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)
Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A model in `tmp_path/m/` whose weights [3, 4] are external with the given entries."""

    def save(**entries: object) -> Path:
        proto = model([node("MatMul", "x w", "y")], {"x": [2, 3]}, ["y"], {"w": WEIGHTS})
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, text in entries.items():
            tensor.external_data.add(key=key, value=str(text))
        folder = tmp_path / "m"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        return folder

    return save


def computes(folder: Path) -> None:
    x = np.ones((2, 3), np.float32)
    result = run_prepared(prepared(folder / "model.onnx"), {"x": x})
    np.testing.assert_allclose(result["y"], x @ WEIGHTS)


def test_data_beside_the_model(build: Build) -> None:
    folder = build(location="w.bin")
    (folder / "w.bin").write_bytes(WEIGHTS.tobytes())
    computes(folder)
    folder = build(location="./sub/../sub/w.bin", offset=16, length=48)
    (folder / "sub").mkdir()
    (folder / "sub" / "w.bin").write_bytes(bytes(16) + WEIGHTS.tobytes() + bytes(3))
    computes(folder)


def test_links(build: Build, tmp_path: Path) -> None:
    folder = build(location="w.bin")
    (folder / "real.bin").write_bytes(WEIGHTS.tobytes())
    (folder / "w.bin").symlink_to("real.bin")
    computes(folder)
    (folder / "w.bin").unlink()
    (tmp_path / "outside.bin").write_bytes(WEIGHTS.tobytes())
    (folder / "w.bin").symlink_to(tmp_path / "outside.bin")
    assert "outside the model's folder" in refusal(folder / "model.onnx")
    (folder / "w.bin").unlink()
    (folder / "w.bin").symlink_to("w.bin")
    refusal(folder / "model.onnx")


def test_a_linked_folder_leads_outside(build: Build, tmp_path: Path) -> None:
    folder = build(location="sub/w.bin")
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    (folder / "sub").symlink_to(tmp_path)
    assert "outside the model's folder" in refusal(folder / "model.onnx")


@pytest.mark.parametrize("location", ["/etc/hostname", "../w.bin", "sub/../../w.bin", "", ".", "a\0b"])
def test_locations_outside(build: Build, tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    assert "outside the model's folder" in refusal(build(location=location) / "model.onnx")


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": -4},
        {"offset": 4},
        {"length": 1 << 60},
        {"length": 47},
        {"length": -1},
        {"offset": 1 << 62},
        {"offset": "x"},
        {"length": "9" * 5000},
    ],
)
def test_wrong_places_in_the_file(build: Build, entries: dict[str, object]) -> None:
    folder = build(location="w.bin", **entries)
    (folder / "w.bin").write_bytes(WEIGHTS.tobytes())
    refusal(folder / "model.onnx")


def test_missing_short_and_strange_files(build: Build) -> None:
    folder = build(location="w.bin")
    assert "is missing" in refusal(folder / "model.onnx")
    (folder / "w.bin").write_bytes(WEIGHTS.tobytes()[:-1])
    assert "truncated" in refusal(folder / "model.onnx")
    (folder / "w.bin").unlink()
    (folder / "w.bin").mkdir()
    assert "is not a file" in refusal(folder / "model.onnx")
    (folder / "w.bin").rmdir()
    os.mkfifo(folder / "w.bin")
    assert "is not a file" in refusal(folder / "model.onnx")
    refusal(build(location="n" * 300) / "model.onnx")


def test_a_model_without_a_file_has_no_folder(build: Build) -> None:
    folder = build(location="w.bin")
    (folder / "w.bin").write_bytes(WEIGHTS.tobytes())
    assert "no folder" in refusal(onnx.load(str(folder / "model.onnx"), load_external_data=False))
