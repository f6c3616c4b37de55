"""The wheel: what is in it, and that it works where the checkout is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from compiler.target import list_targets
from compiler.versions import EDGEC, TVM, TVM_FFI

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "compiler", "targets", "tuning_logs")

USE = """\
import sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper
import compiler.pipeline
from compiler.target import list_targets, targets_dir

unpacked = Path(sys.argv[1]).resolve()
assert Path(compiler.pipeline.__file__).resolve().is_relative_to(unpacked), compiler.pipeline.__file__
assert targets_dir().resolve().is_relative_to(unpacked), targets_dir()
print(*[target.name for target in list_targets()])

x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
artifact = compiler.pipeline.compile_model(model, "host", "tiny.so", verify=False)

sys.path.insert(0, str(unpacked / "compiler" / "runtime"))
from loader import Model
given = np.array([[-1, 0, 1], [2, -3, 4]], np.float32)
with Model(artifact.path, threads=1) as model:
    assert (model.run({"x": given})["y"] == np.maximum(given, 0)).all()
"""


def has_setuptools() -> bool:
    """Whether the setuptools that pyproject.toml asks for is here, so that no network is needed."""
    try:
        metadata.version("wheel")
        return int(metadata.version("setuptools").split(".")[0]) >= 77
    except metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not has_setuptools():
        pytest.skip("setuptools >= 77 and wheel are not installed (the `test` extra has them)")
    folder = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in SOURCES:  # a copy: a build leaves folders behind
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    result = subprocess.run([*command, "-w", "dist", "."], cwd=folder, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_version(wheel: Path) -> None:
    assert wheel.name == f"edgec-{EDGEC}-py3-none-any.whl"


def test_every_source_is_in_it(names: set[str]) -> None:
    files = [path for path in (ROOT / "compiler").rglob("*") if path.suffix in (".py", ".c", ".h")]
    sources = {path.relative_to(ROOT).as_posix() for path in files if "_data" not in path.parts}
    assert sources <= names
    assert {"compiler/runtime/loader.py", "compiler/runtime/edgec.h", "compiler/runtime/pool.c"} <= sources


def test_data_is_in_it(names: set[str]) -> None:
    for folder, pattern in (("targets", "*.toml"), ("tuning_logs", "*/*.jsonl")):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)}
        assert {f"compiler/_data/{file}" for file in files} <= names
    assert "compiler/_data/tuning_logs/README.md" in names


def test_nothing_else_is_in_it(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} == {"compiler", f"edgec-{EDGEC}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".so", ".o"))]
    assert any(name.endswith("/LICENSE") for name in names)


def test_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    result = subprocess.run(
        [sys.executable, "-c", USE, str(unpacked)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.split() == [target.name for target in list_targets()]


def test_pins_are_the_ones_that_are_checked_at_run_time() -> None:
    dependencies = PROJECT["project"]["dependencies"]
    assert f"apache-tvm=={TVM}" in dependencies
    assert f"apache-tvm-ffi=={TVM_FFI}" in dependencies


def test_command_exists() -> None:
    module, _, name = PROJECT["project"]["scripts"]["edgec"].partition(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
