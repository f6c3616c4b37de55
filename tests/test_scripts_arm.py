"""scripts/bench_arm: how executed blocks are read, classified and assigned; a whole run where an emulator is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler import load_target
from compiler.emulation import profile
from compiler.emulation.board import describe_cores
from compiler.emulation.profile import Block, Mapping
from compiler.files import cache_folder
from scripts import bench_arm
from tests.models import model, node

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "bench_arm"
CACHE = cache_folder() / "bench_arm"
ADD = 0x8B020020  # add x0, x1, x2
FMLA = 0x4E22CC20  # fmla v0.4s, v1.4s, v2.4s


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (FMLA, "multiply-add"),
        (0x4EA2CC20, "multiply-add"),  # fmls v0.4s, v1.4s, v2.4s
        (0x4FB91900, "multiply-add"),  # fmla v0.4s, v8.4s, v25.s[3]
        (0x1F020C20, "multiply-add"),  # fmadd s0, s1, s2, s3
        (0x6E22DC20, "SIMD other"),  # fmul v0.4s, v1.4s, v2.4s
        (0x4FA29020, "SIMD other"),  # fmul v0.4s, v1.4s, v2.s[1]
        (0x6F00E400, "SIMD other"),  # movi v0.2d, #0
        (0x4E829420, "dot product"),  # sdot v0.4s, v1.16b, v2.16b
        (0x4FA2E020, "dot product"),  # sdot v0.4s, v1.16b, v2.4b[1]
        (0x3DC00020, "SIMD load"),  # ldr q0, [x1]
        (0xAD400420, "SIMD load"),  # ldp q0, q1, [x1]
        (0xBD400420, "SIMD load"),  # ldr s0, [x1, #4]
        (0x4DDFCA78, "SIMD load"),  # ld1r {v24.4s}, [x19], #4
        (0x3C810420, "SIMD store"),  # str q0, [x1], #16
        (0x4C007820, "SIMD store"),  # st1 {v0.4s}, [x1]
        (0xB9800020, "load"),  # ldrsw x0, [x1]
        (0x58000000, "load"),  # ldr x0, .
        (0xA9BF7BFD, "store"),  # stp x29, x30, [sp, #-16]!
        (0x39000020, "store"),  # strb w0, [x1]
        (0x54000001, "branch"),  # b.ne .
        (0xB4000000, "branch"),  # cbz x0, .
        (0xD65F03C0, "branch"),  # ret
        (ADD, "other"),
        (0x90000000, "other"),  # adrp x0, .
    ],
)
def test_classes(word: int, name: str) -> None:
    assert profile.classify(word) == name


def test_blocks_by_file_and_function(tmp_path: Path) -> None:
    (tmp_path / "blocks").write_text(f"10a0 3 {FMLA:x} {ADD:x}\n10c0 2 {ADD:x}\n5000 1 {ADD:x}\n")
    maps = profile.parse_maps(
        [
            "00001000-00002000 r-xp 00000400 00:01 17                         /a folder/model.so\n",
            "00002000-00003000 rw-p 00001400 00:01 17                         /a folder/model.so\n",
            "00004000-00006000 r-xp 00000000 00:00 0 \n",
        ]
    )
    assert maps == [Mapping(0x1000, 0x2000, 0x400, "/a folder/model.so"), Mapping(0x4000, 0x6000, 0, "")]
    groups = profile.group_by_file(profile.read_blocks(tmp_path / "blocks"), maps)
    own = groups["/a folder/model.so"]
    assert [(block.address, block.runs) for block in own] == [(0x4A0, 3), (0x4C0, 2)]
    assert groups[""] == [Block(0x1000, 1, (ADD,))]
    assert profile.count_classes(own) == {"multiply-add": 3, "other": 5}
    functions = profile.group_by_function(own, {0x400: "first", 0x4B0: "second"})
    assert {name: profile.count_classes(blocks).total() for name, blocks in functions.items()} == {
        "first": 6, "second": 2,
    }  # fmt: skip


def test_board_has_its_cores(tmp_path: Path) -> None:
    target = load_target("raspberry-pi-5")
    describe_cores(target, tmp_path)
    cpus = tmp_path / "sys/devices/system/cpu"
    assert len(list(cpus.glob("cpu[0-9]"))) == target.num_cores
    assert (cpus / "present").read_text() == "0-3\n"
    assert (cpus / "cpu3/cache/index2/size").read_text() == f"{target.caches.l2_kib}K\n"
    text = (tmp_path / "proc/cpuinfo").read_text()
    assert text.count("CPU part\t: 0xd0b\n") == 4
    assert "asimddp" in text


def test_help_is_the_comment(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([SCRIPT, "--help"], env=environment, text=True, capture_output=True, check=True)
    assert done.stdout.startswith("Instructions that models take")
    assert "set -e" not in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.arm
@pytest.mark.slow
def test_counts_every_multiply_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = next(CACHE.glob("onnxruntime-*"), None)
    if packages is None or not (CACHE / "qemu").is_dir():
        pytest.skip(f"no qemu with plugins in {CACHE} (scripts/bench_arm makes one)")
    # Enough work for parallel loops, whose bodies have no symbol; a tile divides the sizes.
    weight = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    onnx.save(model([node("MatMul", "x w", "y")], {"x": [32, 64]}, ["y"], {"w": weight}), tmp_path / "product.onnx")
    arguments = ["--qemu", str(CACHE / "qemu"), "--packages", str(packages), "--json", str(tmp_path / "out.json")]
    arguments += ["--target", "raspberry-pi-4", "--kernels", str(tmp_path / "product.onnx")]
    monkeypatch.setattr("sys.argv", ["bench_arm", *arguments])
    bench_arm.main()
    (row,) = json.loads((tmp_path / "out.json").read_text())
    products = 32 * 64 * 64 // 4  # of four lanes
    assert sum(kernel["classes"]["multiply-add"] for kernel in row["kernels"] if kernel["rule"]) == products
    assert row["onnxruntime"]["classes"]["multiply-add"] >= products
    assert row["edgec"]["instructions"] == sum(row["edgec"]["classes"].values())
    assert row["edgec"]["files"]["product.so"] == sum(kernel["instructions"] for kernel in row["kernels"])
    assert "| product | raspberry-pi-4 |" in capsys.readouterr().out
