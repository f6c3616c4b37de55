"""Executed blocks: how they are read, classified, and assigned to files and functions; and what a board looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler import load_target
from compiler.emulation import profile
from compiler.emulation.board import describe_cores
from compiler.emulation.profile import Block, Mapping

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
