"""Artifacts for other machines: built here, run in an emulator, with results equal to the reference's."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from compiler.build.elf import needed_glibc
from compiler.pipeline import Artifact, compile_model
from compiler.runtime.loader import LoadError, Model, read_manifest
from compiler.target import load_target
from compiler.verify.compare import compare
from compiler.verify.execute import execute
from compiler.verify.reference import run_reference
from tests.executors import executor_or_skip
from tests.networks import convnet, model

ELF_MACHINE = {"x86_64": 62, "aarch64": 183, "armv7l": 40, "riscv64": 243}


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return {}


def build(name: str, builds: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    if name not in builds:
        builds[name] = compile_model(convnet(), name, tmp_path_factory.mktemp(name) / "net.so", verify=False)
    return builds[name]


@pytest.mark.arm
@pytest.mark.parametrize(
    "name",
    [
        "raspberry-pi-5",
        "raspberry-pi-4",
        "raspberry-pi-3",
        "generic-aarch64",
        "generic-armv7",
        "generic-riscv64",
    ],
)
def test_results_under_the_emulator_equal_the_reference(
    name: str, builds: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = load_target(name)
    executor = executor_or_skip(target)
    artifact = build(name, builds, tmp_path_factory)
    x = np.random.default_rng(2).standard_normal((1, 3, 9, 9)).astype(np.float32)
    _, expected = run_reference(convnet(), {"x": x})
    differences = compare(execute(executor, artifact.path, {"x": x}, threads=2), expected)
    assert all(differences), differences
    assert max(d.error for d in differences) < 1e-5


@pytest.mark.parametrize("name", ["raspberry-pi-5", "raspberry-pi-4", "generic-armv7", "generic-riscv64", "x86-64-v3"])
def test_machine_and_glibc_floor(
    name: str, builds: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> None:
    artifact = build(name, builds, tmp_path_factory)
    data = artifact.path.read_bytes()
    assert struct.unpack_from("<H", data, 18)[0] == ELF_MACHINE[load_target(name).machine]
    needed = needed_glibc(artifact.path)
    assert tuple(map(int, needed.split("."))) <= (2, 28)
    assert read_manifest(artifact.path)["requires"]["glibc"] == needed


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf (Debian: binutils)")
@pytest.mark.parametrize("name", ["raspberry-pi-5", "generic-armv7"])
def test_symbol_versions_as_readelf_sees_them(
    name: str, builds: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> None:
    artifact = build(name, builds, tmp_path_factory)
    text = subprocess.run(["readelf", "-VW", artifact.path], check=True, capture_output=True, text=True).stdout
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", text)}
    assert versions
    assert max(versions) == tuple(map(int, needed_glibc(artifact.path).split(".")))


def test_an_artifact_for_apple_is_a_mach_o_file_with_a_manifest(
    builds: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> None:
    artifact = build("apple-m1", builds, tmp_path_factory)
    data = artifact.path.read_bytes()
    magic, cpu, _, kind = struct.unpack_from("<IIII", data)
    assert (magic, cpu, kind) == (0xFEEDFACF, 0x0100000C, 6)  # 64-bit, ARM64, MH_DYLIB
    manifest = read_manifest(artifact.path)
    assert manifest["requires"]["os"] == "macos"
    assert manifest["outputs"][0]["name"] == "y"


def test_the_loader_refuses_another_machine(
    builds: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if load_target("host").machine == "aarch64":
        pytest.skip("this machine is an aarch64 one")
    with pytest.raises(LoadError, match="aarch64"):
        Model(build("raspberry-pi-5", builds, tmp_path_factory).path)


@pytest.mark.arm
def test_code_for_a_newer_core_is_refused_on_an_older_one(
    builds: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = load_target("raspberry-pi-4")
    executor = executor_or_skip(old)
    artifact = build("raspberry-pi-5", builds, tmp_path_factory)
    from compiler.process import CommandError

    with pytest.raises(CommandError, match="LoadError"):
        execute(executor, Path(artifact.path), {"x": np.zeros((1, 3, 9, 9), np.float32)})


@pytest.mark.arm
def test_copy_loops_are_whole_on_32_bit_arm(tmp_path: Path) -> None:
    """LLVM 22's optimiser of ARM loads and stores writes past the end of rows here; it has to be off."""
    target = load_target("generic-armv7")
    executor = executor_or_skip(target)
    value = helper.make_tensor_value_info
    network = model(
        [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])],
        [value("x", TensorProto.FLOAT, [2, 5, 11, 32])],
        [value("y", TensorProto.FLOAT, [2, 32, 5, 11])],
    )
    artifact = compile_model(network, target, tmp_path / "a.so", verify=False)
    x = np.arange(2 * 5 * 11 * 32, dtype=np.float32).reshape(2, 5, 11, 32)
    np.testing.assert_array_equal(execute(executor, artifact.path, {"x": x})["y"], x.transpose(0, 3, 1, 2))
