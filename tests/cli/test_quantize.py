"""`edgec compile --precision int8` and `edgec verify` of what it makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.runtime.loader import read_manifest
from tests.models import model, node
from tests.quantize.lopsided import BAD, lopsided, pictures


def edgec(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compiler", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its samples, and two artifacts: quantised as it comes, and with a bound on what is lost."""
    made = tmp_path_factory.mktemp("quantize")
    onnx.save(lopsided(), made / "net.onnx")
    np.save(made / "x.npy", pictures(48))
    common = ("compile", made / "net.onnx", "--precision", "int8", "--calibration", made / "x.npy", "--layers", 2, "-o")
    free = edgec(*common, made / "free.so")
    assert free.returncode == 0, free.stderr
    (made / "free.txt").write_text(free.stdout + free.stderr)
    report = ("--max-drop", 0.1, "--metric", "top1", "--report", made / "report.html")
    bound = edgec(*common, made / "bound.so", *report)
    assert bound.returncode == 0, bound.stderr
    (made / "bound.txt").write_text(bound.stdout + bound.stderr)
    return made


def test_the_layers_are_shown_and_a_loss_is_a_warning(folder: Path) -> None:
    lines = (folder / "free.txt").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("layers that cost the outputs most, 2 of 5"))
    assert lines[place + 1].split()[-1] == "LAYER"
    assert lines[place + 2].split()[-1] == BAD
    assert lines[place + 4].startswith("accuracy  top1 0.")
    assert any(line.startswith("warning: quantisation lost") for line in lines)
    found = read_manifest(folder / "free.so")
    assert found["precision"] == "int8"
    assert found["accuracy"]["layers"][0]["name"] == BAD
    assert found["accuracy"]["float"] - found["accuracy"]["quantised"] > 0.1


def test_a_bound_returns_the_layer_to_float_and_says_what_it_cost(folder: Path) -> None:
    text = (folder / "bound.txt").read_text()
    assert "max drop  0.1: kept by 1 of 5 layers in float, with 7.0% of the multiplications" in text
    assert "warning" not in text
    found = read_manifest(folder / "bound.so")["accuracy"]
    assert found["layers_in_float"] == [BAD]
    assert found["reached"] and found["float"] - found["quantised"] <= 0.1


def test_the_report_has_every_precision(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for precision in ("fp32", "fp16", "int8"):
        assert f"<td>{precision}</td>" in page
    assert page.count("<svg") == 4
    assert BAD in page


def test_a_bound_that_cannot_be_kept_is_a_failed_check(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "CALLS = []\ndef falling(run, samples):\n    CALLS.append(run)\n    return -float(len(CALLS))\n"
    )
    done = edgec(
        *("compile", folder / "net.onnx", "--precision", "int8", "--calibration", folder / "x.npy"),
        *("-o", tmp_path / "net.so", "--max-drop", 0.5, "--metric", f"{tmp_path / 'own.py'}:falling", "--json"),
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["accuracy"]
    assert not found["reached"]
    assert {layer["name"] for layer in found["layers"]} >= {BAD, "scores"}
    assert not (tmp_path / "net.so").exists()


def test_verify_takes_samples_and_compares_with_the_float_model(folder: Path) -> None:
    bad = edgec("verify", folder / "free.so", folder / "net.onnx", "--input", folder / "x.npy")
    good = edgec("verify", folder / "bound.so", folder / "net.onnx", "--input", folder / "x.npy", "--json")
    assert good.returncode == 0, good.stderr
    found = json.loads(good.stdout)
    assert found["same_model"] and found["runs"] == 48
    assert found["outputs"] == []
    assert found["likeness"][0]["snr_db"] > 15
    assert found["labels"]["output"] == "y"
    manifest = read_manifest(folder / "bound.so")["accuracy"]
    assert found["labels"]["equal"] / found["labels"]["count"] == pytest.approx(manifest["quantised"], abs=0.05)
    assert "signal to noise" in bad.stdout and "the same label for" in bad.stdout
    assert edgec("verify", folder / "bound.so", folder / "net.onnx").returncode == 0  # on seeded inputs


def test_verify_fails_below_its_bound(folder: Path, tmp_path: Path) -> None:
    other = lopsided()
    for tensor in other.graph.initializer:
        if tensor.name == "w5":
            values = -onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "w5"))
    onnx.save(other, tmp_path / "other.onnx")
    done = edgec("verify", folder / "bound.so", tmp_path / "other.onnx")
    assert done.returncode == 1
    assert "at least 3" in done.stdout and "DIFFERS" in done.stdout


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    net = folder / "net.onnx"
    none = edgec("compile", net, "--precision", "int8", "-o", tmp_path / "m.so")
    assert none.returncode == 2 and "--calibration" in none.stderr
    floats = edgec("compile", net, "--max-drop", 0.1, "-o", tmp_path / "m.so")
    assert floats.returncode == 2 and "--max-drop is for a quantisation" in floats.stderr
    onnx.save(model([node("Relu", "x", "y")], {"x": [1, 12]}, ["y"]), tmp_path / "relu.onnx")
    np.save(tmp_path / "x.npy", np.zeros((2, 12), np.float32))
    nothing = edgec("compile", tmp_path / "relu.onnx", "--precision", "int8", "--calibration", tmp_path / "x.npy")
    assert nothing.returncode == 2 and "nothing in the model can be quantised" in nothing.stderr
    assert not (tmp_path / "m.so").exists()
