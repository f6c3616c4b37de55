"""The commands: what they print, what they write, and their exit status."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from scripts.classical import forest
from scripts.classical.special import model_of
from tests.networks import convnet, elementwise


def edgec(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "compiler", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cli")
    onnx.save(convnet(), folder / "net.onnx")
    done = edgec("compile", folder / "net.onnx", "--target", "host", "-o", folder / "net.so")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("model")
    assert any(line.strip().startswith("kernels") for line in lines)
    assert "verification passed" in done.stdout
    assert lines[-1].startswith(f"{folder / 'net.so'}: ")
    assert "unscheduled: nothing" in lines[-1]
    return folder / "net.onnx", folder / "net.so"


def test_the_cache_can_be_left_out(built: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("compile", built[0], "-o", tmp_path / "net.so", "--json")
    cached, compiled = (json.loads(edgec(*arguments, *more).stdout) for more in ((), ("--no-cache",)))
    assert cached["cached_kernels"] == cached["kernels"] == compiled["kernels"] > 0
    assert compiled["cached_kernels"] == 0
    assert (tmp_path / "net.so").read_bytes() == built[1].read_bytes()


def test_two_compilers_at_once_make_the_same(built: tuple[Path, Path], tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "compiler", "compile", str(built[0]), "--no-verify", "-o"]
    outs = [tmp_path / "one.so", tmp_path / "two.so"]
    compilers = [subprocess.Popen([*command, out], env=environment, stdout=subprocess.DEVNULL) for out in outs]
    assert [compiler.wait() for compiler in compilers] == [0, 0]
    assert outs[0].read_bytes() == outs[1].read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\x08\x08"])
def test_bad_input_fails_before_tvm_is_imported(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    script = (
        "import sys\nfrom compiler.cli import main\ntry:\n  main()\nfinally:\n"
        "  print('TVM was imported' if 'tvm' in sys.modules else 'fast')"
    )
    command = [sys.executable, "-c", script, "compile", "bad.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "fast\n"), done.stderr


def test_run_writes_the_outputs(built: tuple[Path, Path], tmp_path: Path) -> None:
    x = np.ones((1, 3, 9, 9), np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    done = edgec("run", built[1], "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    assert "1x5" in done.stdout
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["y"].shape == (1, 5)


def test_bench_writes_json(built: tuple[Path, Path], tmp_path: Path) -> None:
    done = edgec("bench", built[1], "--threads", 1, "--seconds", 0.05, "--json", tmp_path / "b.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["threads"] == 1
    assert 0 < report["p05_seconds"] <= report["median_seconds"] <= report["p95_seconds"]


def test_bench_profiles_kernels(built: tuple[Path, Path], tmp_path: Path) -> None:
    done = edgec("bench", built[1], "--threads", 1, "--seconds", 0.05, "--profile", "--json", tmp_path / "b.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["rates"]["gflops"] > 0
    assert sum(kernel["share"] for kernel in report["kernels"]) == pytest.approx(1)
    heading, *lines = done.stdout.split("\n\n")[1].strip().splitlines()
    assert heading.endswith("KERNEL") and [line.split()[-1] for line in lines] == [
        kernel["kernel"] for kernel in report["kernels"]
    ]


def test_verify_passes_on_its_model_and_fails_on_another(built: tuple[Path, Path], tmp_path: Path) -> None:
    assert edgec("verify", built[1], built[0]).returncode == 0
    other = convnet()
    other.graph.initializer[0].raw_data = bytes(len(other.graph.initializer[0].raw_data))
    onnx.save(other, tmp_path / "other.onnx")
    done = edgec("verify", built[1], tmp_path / "other.onnx", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["passed"] is False
    assert report["same_model"] is False


def test_verify_refuses_a_model_with_other_inputs(built: tuple[Path, Path], tmp_path: Path) -> None:
    other = elementwise()
    other.graph.input[0].name = other.graph.node[0].input[0] = "z"
    onnx.save(other, tmp_path / "other.onnx")
    done = edgec("verify", built[1], tmp_path / "other.onnx")
    assert done.returncode == 2
    assert "another model" in done.stderr


def test_inspect_shows_models_and_artifacts(built: tuple[Path, Path]) -> None:
    model = json.loads(edgec("inspect", built[0], "--json").stdout)
    assert model["obstacles"] == []
    assert {o["operator"] for o in model["operators"]} >= {"Conv", "Gemm"}
    assert "Conv" in edgec("inspect", built[0]).stdout
    artifact = json.loads(edgec("inspect", built[1], "--json").stdout)
    assert artifact["format"] == 1
    text = edgec("inspect", built[1]).stdout
    assert "RULE" in text
    assert "verification passed" in text


def test_inspect_suggests_shapes_for_dynamic_dimensions(tmp_path: Path) -> None:
    onnx.save(convnet(batch="N"), tmp_path / "net.onnx")
    done = edgec("inspect", tmp_path / "net.onnx")
    assert done.returncode == 0, done.stderr
    assert "--shape x=" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compile", "none.onnx"], "does not exist"),
        (["compile", "net.onnx", "--target", "raspbery-pi-5"], "raspberry-pi-5"),
        (["compile", "net.onnx", "--shape", "x"], "malformed"),
        (["compile", "net.onnx", "--shape", "q=1x2"], "no input"),
        (["run", "net.onnx"], "net.onnx"),
        (["run", "none.so"], "none.so"),
        (["bench", "text.txt"], "text.txt"),
        (["compile", "forest.pkl"], "skl2onnx.to_onnx"),
        (["compile", "net.onnx", "--calibration", "none.npz"], "cannot read the arrays"),
        (["compile", "net.onnx", "--calibration", "text.txt"], "numpy.savez"),
        (["compile", "net.onnx", "--calibration", "objects.npy"], "plain array"),
        (["compile", "net.onnx", "--calibration", "rows.npy"], "nothing to calibrate"),
        (["inspect", "none"], "cannot read"),
        (["inspect", "text.txt"], "ONNX"),
        (["verify", "text.txt", "net.onnx"], "text.txt"),
        (["frobnicate"], "frobnicate"),
        (["compile"], "MODEL"),
    ],
)
def test_bad_input_ends_with_status_2_and_no_traceback(arguments: list[str], words: str, tmp_path: Path) -> None:
    onnx.save(convnet(), tmp_path / "net.onnx")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "forest.pkl").write_bytes(pickle.dumps([1]))
    np.save(tmp_path / "rows.npy", np.zeros((2, 3), np.float32))
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    before = sorted(p.name for p in tmp_path.iterdir())
    done = edgec(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'"])
def test_run_refuses_bad_arrays(built: tuple[Path, Path], content: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    done = edgec("run", built[1], "--input", tmp_path / "in.npz")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_run_refuses_arrays_that_do_not_fit(built: tuple[Path, Path], tmp_path: Path) -> None:
    for arrays in ({}, {"x": np.ones(3, np.float32)}, {"x": np.ones((1, 3, 9, 9))}):
        np.savez(tmp_path / "in.npz", **arrays)
        done = edgec("run", built[1], "--input", tmp_path / "in.npz")
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_help_is_instant_because_tvm_is_not_imported() -> None:
    code = "import sys; sys.argv = ['edgec', '--help']\nfrom compiler.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    assert 'tvm' not in sys.modules and 'onnx' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_compile_for_sample_rows(ending: str, tmp_path: Path) -> None:
    rows = forest.rows(forest.Kind(), 40)
    write = {"npy": lambda path: np.save(path, rows), "npz": lambda path: np.savez(path, X=rows)}[ending]
    write(tmp_path / f"rows.{ending}")
    tree = forest.ensemble(forest.Kind(), "TreeEnsembleRegressor")
    onnx.save(model_of([tree], rows, {"y": onnx.TensorProto.FLOAT}), tmp_path / "forest.onnx")
    options = ["--calibration", f"rows.{ending}", "-o", "forest.so"]
    done = edgec("compile", "forest.onnx", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "verification passed" in done.stdout
