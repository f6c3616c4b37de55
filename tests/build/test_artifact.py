"""The linked artifact: what it needs, how large it is, and that the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.frontend.prepare import load_model
from compiler.pipeline import Artifact, Clock, compile_model, compile_with, resolve
from compiler.runtime.loader import Model, read_manifest
from tests.networks import convnet, elementwise

readelf = pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf (Debian: binutils)")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compile_model(convnet(), "host", tmp_path_factory.mktemp("artifact") / "net.so")


@readelf
def test_it_needs_the_c_library_only(artifact: Artifact) -> None:
    text = subprocess.run(["readelf", "-dW", artifact.path], check=True, capture_output=True, text=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", text))
    assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}


@readelf
def test_only_the_api_is_exported(artifact: Artifact) -> None:
    text = subprocess.run(
        ["readelf", "-W", "--dyn-syms", artifact.path], check=True, capture_output=True, text=True
    ).stdout
    lines = [line.split() for line in text.splitlines() if re.search(r"GLOBAL|WEAK", line)]
    exported = {fields[-1] for fields in lines if fields[6] != "UND"}
    api = set(
        re.findall(
            r"EDGEC_API[^;]*?\b(edgec_\w+)\(",
            (Path(__file__).parents[2] / "compiler/runtime/edgec.h").read_text(),
        )
    )
    assert exported == api
    assert len(api) > 8


@readelf
def test_nothing_is_writable_and_code(artifact: Artifact) -> None:
    text = subprocess.run(["readelf", "-lW", artifact.path], check=True, capture_output=True, text=True).stdout
    flags = re.findall(r"LOAD +(?:0x\w+ +){5}(.{3}) ", text)
    assert "R E" in flags and set(flags) <= {"R  ", "R E", "RW "}


def test_code_and_tables_stay_small_beyond_kernels_and_weights(tmp_path: Path) -> None:
    # One trivial kernel of a few hundred bytes, no weights: the rest is runtime, host program and manifest.
    artifact = compile_model(elementwise(), "host", tmp_path / "tiny.so", verify=False)
    assert artifact.size < 40 * 1024


def test_weights_are_mapped_not_copied(artifact: Artifact) -> None:
    assert artifact.manifest["memory"]["weights_bytes"] > 0
    with Model(artifact.path, threads=1) as model:
        model.run({"x": np.zeros((1, 3, 9, 9), np.float32)})
        maps = Path("/proc/self/maps").read_text()
    lines = [line for line in maps.splitlines() if str(artifact.path) in line]
    writable = sum(int(e, 16) - int(b, 16) for b, e in (x.split()[0].split("-") for x in lines if " rw" in x))
    assert lines
    assert writable <= 2 * 4096 * 4


def test_the_same_input_gives_the_same_bytes(artifact: Artifact, tmp_path: Path) -> None:
    again = compile_model(convnet(), "host", tmp_path / "elsewhere.so", cache=False)
    one, two = (hashlib.sha256(a.path.read_bytes()).hexdigest() for a in (artifact, again))
    assert one == two


def test_the_manifest_tells_what_was_made(artifact: Artifact) -> None:
    manifest = read_manifest(artifact.path)
    assert manifest == artifact.manifest
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 3, 9, 9]}]
    assert manifest["verification"]["status"] == "passed"
    assert manifest["target"]["name"] == "host"
    assert manifest["memory"]["arena_bytes"] >= manifest["memory"]["peak_bytes"] > 0


@readelf
def test_names_of_functions_are_kept_on_request(artifact: Artifact, tmp_path: Path) -> None:
    loaded = load_model(convnet())
    options = resolve(loaded, "host", tmp_path / "net.so", None, False, None, True)
    named = compile_with(loaded, replace(options, keep_symbols=True), Clock())

    def functions(path: Path) -> str:
        return subprocess.run(["readelf", "-sW", path], check=True, capture_output=True, text=True).stdout

    kernels = {kernel["symbol"] for kernel in named.manifest["kernels"]}
    assert all(symbol in functions(named.path) for symbol in kernels)
    assert not any(symbol in functions(artifact.path) for symbol in kernels)
    assert named.manifest["memory"] == artifact.manifest["memory"]
