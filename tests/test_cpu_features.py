"""The feature table against LLVM's own, and its hardware bits against the emulator's kernel interface."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compiler.cpu_features import BASELINE, FEATURES, IMPLIED, enabled_features, required_features
from compiler.target import TRIPLES, list_targets, load_target

TRIPLE_OF = {machine: triple for triple, (machine, _, _) in TRIPLES.items()}
CORES = [(machine, core) for machine, cores in IMPLIED.items() for core in cores]


def llvm_features(machine: str, core: str, *attributes: str) -> set[str]:
    codegen: Any = pytest.importorskip("tvm.target.codegen")
    tvm = pytest.importorskip("tvm")
    spec = {"kind": "llvm", "mtriple": TRIPLE_OF[machine], "mcpu": core, "mattr": list(attributes)}
    found: set[str] = codegen.llvm_get_cpu_features(tvm.target.Target(spec))
    return found & set(FEATURES[machine])


@pytest.mark.parametrize(("machine", "core"), CORES)
def test_implied_features_are_llvms(machine: str, core: str) -> None:
    assert llvm_features(machine, core) == IMPLIED[machine][core]


@pytest.mark.parametrize(("machine", "core"), CORES)
def test_switching_off_takes_along_what_llvm_takes_along(machine: str, core: str) -> None:
    for feature in IMPLIED[machine][core]:
        attributes = (f"-{feature}",)
        assert llvm_features(machine, core, *attributes) == enabled_features(machine, core, attributes), feature


@pytest.mark.parametrize("machine", list(FEATURES))
def test_switching_on_brings_along_what_llvm_brings_along(machine: str) -> None:
    core = next(iter(IMPLIED[machine]))
    for feature in FEATURES[machine]:
        attributes = (f"+{feature}",)
        assert llvm_features(machine, core, *attributes) == enabled_features(machine, core, attributes), feature


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.name)
def test_llvm_compiles_for_the_features_of_every_target(target: Any) -> None:
    assert llvm_features(target.machine, target.core, *target.features) == target.enabled_features


def test_kernel_bits() -> None:
    """Linux's asm/hwcap.h, written down a second time."""
    arm64 = {"fp-armv8": (16, 0), "neon": (16, 1), "aes": (16, 3), "sha2": (16, 6), "crc": (16, 7), "lse": (16, 8),
             "fullfp16": (16, 10), "rdm": (16, 12), "rcpc": (16, 15), "dotprod": (16, 20), "i8mm": (26, 13),
             "bf16": (26, 14)}  # fmt: skip
    assert {name: FEATURES["aarch64"][name].auxv for name in arm64} == arm64
    arm = {"neon": (16, 12), "vfp3": (16, 13), "vfp4": (16, 16), "hwdiv-arm": (16, 17), "hwdiv": (16, 18)}
    assert {name: feature.auxv for name, feature in FEATURES["armv7l"].items()} == arm
    assert FEATURES["riscv64"]["v"].auxv == (16, 21)
    for machine in ("aarch64", "armv7l", "riscv64"):
        bits = [feature.auxv for feature in FEATURES[machine].values()]
        assert len(set(bits)) == len(bits)


def required(name: str) -> set[str]:
    return {entry["name"] for entry in required_features(load_target(name))}


def test_required_features() -> None:
    assert required("raspberry-pi-5") == {"dotprod", "fullfp16", "lse", "rcpc", "rdm"}
    assert required("raspberry-pi-4") == required("generic-aarch64") == required("generic-riscv64") == set()
    assert required("generic-armv7") == {"neon", "vfp4", "hwdiv", "hwdiv-arm"}
    assert {"avx2", "fma", "lzcnt", "avxvnni"} <= required("intel-n100")
    assert not any(name.startswith("avx512") for name in required("intel-nuc-12") | required("intel-n100"))
    entries = required_features(load_target("raspberry-pi-5"))
    assert {"name": "dotprod", "auxv": [16, 20]} in entries
    assert {"name": "lzcnt", "cpuinfo": "abm"} in required_features(load_target("x86-64-v3"))
    assert all(set(entry) == {"name"} for entry in required_features(load_target("apple-m1")))


@pytest.mark.parametrize("name", ["raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-zero-2w"])
def test_broadcom_boards_have_no_crypto(name: str) -> None:
    target = load_target(name)
    assert not target.has("aes")
    assert not target.has("sha2")
    assert target.has("crc")


PROGRAM = '#include <stdio.h>\n#include <sys/auxv.h>\nint main(){printf("%lu %lu",getauxval(16),getauxval(26));}\n'


@pytest.fixture(scope="module")
def auxv_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if compiler is None or shutil.which("qemu-aarch64-static") is None:
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64-static")
    folder = tmp_path_factory.mktemp("auxv")
    (folder / "auxv.c").write_text(PROGRAM)
    subprocess.run([compiler, "-static", "-o", folder / "auxv", folder / "auxv.c"], check=True)
    return folder / "auxv"


@pytest.mark.arm
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76"])
def test_emulated_cpu_shows_what_its_core_implies(auxv_program: Path, cpu: str) -> None:
    command = ["qemu-aarch64-static", "-cpu", cpu, str(auxv_program)]
    hwcap, hwcap2 = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    words = {16: hwcap, 26: hwcap2}
    shown = set()
    for feature in FEATURES["aarch64"].values():
        assert feature.auxv is not None
        kind, bit = feature.auxv
        if words[kind] >> bit & 1:
            shown.add(feature.name)
    # qemu 7.2 does not show SSBS, which no artifact requires.
    assert shown | {"ssbs"} == IMPLIED["aarch64"][cpu] | {"ssbs"}
    assert BASELINE["aarch64"] <= shown


@pytest.mark.arm
def test_emulator_knows_every_qemu_cpu() -> None:
    for target in list_targets():
        emulator = {
            "aarch64": "qemu-aarch64-static",
            "armv7l": "qemu-arm-static",
            "riscv64": "qemu-riscv64-static",
        }
        if not target.qemu_cpu:
            assert target.machine in ("x86_64", "arm64")
            continue
        if shutil.which(emulator[target.machine]) is None:
            pytest.skip(f"needs {emulator[target.machine]}")
        # Printing the list, some versions exit with 1.
        command = [emulator[target.machine], "-cpu", "help"]
        models = subprocess.run(command, check=False, capture_output=True, text=True)
        assert target.qemu_cpu in models.stdout.split()
