"""ELF files: an object of plain data, and what a linked file asks of the system it is loaded on."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..target import Target
from .memory import ALIGNMENT

_GLIBC = re.compile(rb"\0GLIBC_(\d+(?:\.\d+)+)(?=\0)")

# The processor's number, and the flags that say which calling convention an object follows, which data must not break.
_MACHINE = {"x86_64": (62, 0), "aarch64": (183, 0), "armv7l": (40, 5 << 24), "riscv64": (243, 4)}
_PAGE = 4096


@contextmanager
def data_object(path: Path, target: Target, section: str, symbol: str) -> Iterator[BinaryIO]:
    """Writes an object file with one section of read-only data, aligned as kernels need it: what the body writes.

    An assembler would do the same, but read and write all weights once more.

    Args:
        symbol: the hidden name of the data's first byte.
    """
    wide = target.bits == 64
    with path.open("wb") as file:
        file.write(bytes(_PAGE))  # the header's place
        yield file
        file.write(bytes(8 - file.tell() % 8))  # at least one byte, or the symbol of no data would be nowhere
        end = file.tell()
        names = b"\0".join([b"", symbol.encode(), section.encode(), b".symtab", b".strtab", b".note.GNU-stack", b""])
        names += bytes(-len(names) % 8)
        if wide:
            symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0x11, 2, 1, 0, end - _PAGE)
        else:
            symbols = bytes(16) + struct.pack("<IIIBBH", 1, 0, end - _PAGE, 0x11, 2, 1)
        rows = (  # name, type, flags, offset, size, link, info, alignment, size of an entry
            (b"", 0, 0, 0, 0, 0, 0, 0, 0),
            (section.encode(), 1, 2, _PAGE, end - _PAGE, 0, 0, ALIGNMENT, 0),
            (b".symtab", 2, 0, end, len(symbols), 3, 1, 8, len(symbols) // 2),
            (b".strtab", 3, 0, end + len(symbols), len(names), 0, 0, 1, 0),
            (b".note.GNU-stack", 1, 0, end, 0, 0, 0, 1, 0),  # no code on the stack
        )
        file.write(symbols + names)
        headers = file.tell()
        for name, kind, flags, offset, size, *rest in rows:
            row = (names.find(b"\0" + name + b"\0") + 1, kind, flags, 0, offset, size, *rest)
            file.write(struct.pack("<IIQQQQIIQQ" if wide else "<10I", *row))
        file.seek(0)
        machine, flags = _MACHINE[target.machine]
        ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
        sizes = (64, 0, 0, 64) if wide else (52, 0, 0, 40)  # of this header, of no program headers, of a row
        form = "<16sHHIQQQIHHHHHH" if wide else "<16sHHIIIIIHHHHHH"
        file.write(struct.pack(form, ident, 1, machine, 1, 0, 0, headers, flags, *sizes, len(rows), 3))


def needed_glibc(path: Path) -> str:
    """The newest glibc version that a dynamic symbol of the file at `path` asks for, as `2.28`; `2.0` if none.

    Version names stand in the dynamic string table only; the linker wrote the file, so a scan finds just those.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _GLIBC.findall(_dynamic_strings(data))
    versions = [tuple(int(part) for part in match.split(b".")) for match in found]
    return ".".join(map(str, max(versions, default=(2, 0))))


def _dynamic_strings(data: mmap.mmap) -> bytes:
    """The contents of `.dynstr`."""
    wide = data[4] == 2
    word = 8 if wide else 4

    def number(offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    table = number(0x28 if wide else 0x20, word)
    entry_size, count, names = (number((0x3A if wide else 0x2E) + 2 * i, 2) for i in range(3))
    # In a section header: name, type, flags, address, offset, size; the first two are 4 bytes wide.
    offset_at = 8 + 2 * word

    def contents(index: int) -> bytes:
        header = table + index * entry_size
        begin = number(header + offset_at, word)
        return data[begin : begin + number(header + offset_at + word, word)]

    strings = contents(names)
    for index in range(count):
        name = number(table + index * entry_size, 4)
        if strings[name : strings.find(b"\0", name)] == b".dynstr":
            return contents(index)
    return b""
