"""Object files of plain data: what readelf says of them, and that every linker takes them."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from compiler.build.elf import data_object
from compiler.build.toolchain import link_shared
from compiler.target import load_target

DATA = bytes(range(256)) * 17
READ = """
#include <stdint.h>
extern __attribute__((visibility("hidden"))) const uint8_t edgec_weights[];
__attribute__((visibility("default"))) const uint8_t *edgec_where(void) { return edgec_weights; }
"""


def write(path: Path, name: str, data: bytes = DATA) -> None:
    with data_object(path, load_target(name), ".rodata.edgec_weights", "edgec_weights") as file:
        file.write(data)


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf (Debian: binutils)")
@pytest.mark.parametrize(
    "name,machine",
    [("x86-64-v3", "X86-64"), ("raspberry-pi-5", "AArch64"), ("generic-armv7", "ARM"), ("generic-riscv64", "RISC-V")],
)
def test_readelf_finds_one_read_only_section_and_a_hidden_symbol(name: str, machine: str, tmp_path: Path) -> None:
    write(tmp_path / "a.o", name)
    done = subprocess.run(["readelf", "-aW", tmp_path / "a.o"], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    assert re.search(rf"Machine:.*{machine}", done.stdout)
    section = re.search(r"\.rodata\.edgec_weights +PROGBITS +0+ (\w+) (\w+) 00 +A +0 +0 +(\d+)", done.stdout)
    assert section
    offset, size = int(section[1], 16), int(section[2], 16)
    assert int(section[3]) == 64
    assert (tmp_path / "a.o").read_bytes()[offset : offset + len(DATA)] == DATA
    assert len(DATA) < size <= len(DATA) + 8
    assert re.search(rf"0+ +{size} OBJECT +GLOBAL HIDDEN +1 edgec_weights", done.stdout)
    assert re.search(r"\.note\.GNU-stack +PROGBITS +0+ \w+ 0+ 00 +0", done.stdout)


@pytest.mark.parametrize("name", ["x86-64-v3", "raspberry-pi-5", "generic-armv7", "generic-riscv64"])
@pytest.mark.parametrize("data", [DATA, b""])
def test_every_linker_takes_it(name: str, data: bytes, tmp_path: Path) -> None:
    target = load_target(name)
    write(tmp_path / "weights.o", name, data)
    (tmp_path / "read.c").write_text(READ)
    link_shared(target, [Path("read.c"), Path("weights.o")], tmp_path / "none", tmp_path / "a.so")
    assert data in (tmp_path / "a.so").read_bytes()


def test_the_data_is_where_the_symbol_says(tmp_path: Path) -> None:
    write(tmp_path / "weights.o", "host")
    (tmp_path / "read.c").write_text(READ)
    link_shared(load_target("host"), [Path("read.c"), Path("weights.o")], tmp_path / "none", tmp_path / "a.so")
    where = ctypes.CDLL(str(tmp_path / "a.so")).edgec_where
    where.restype = ctypes.c_void_p
    address = where()
    assert address % 64 == 0
    assert ctypes.string_at(address, len(DATA)) == DATA
