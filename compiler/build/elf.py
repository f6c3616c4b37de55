"""What an ELF file asks of the system it is loaded on: the glibc version behind its symbols."""

from __future__ import annotations

import re
from pathlib import Path

_GLIBC = re.compile(rb"\0GLIBC_(\d+(?:\.\d+)+)(?=\0)")


def needed_glibc(path: Path) -> str:
    """The newest glibc version that a dynamic symbol of the file at `path` asks for, as `2.28`; `2.0` if none.

    Version names stand in the dynamic string table only; the linker wrote the file, so a scan finds just those.
    """
    found = _GLIBC.findall(_dynamic_strings(path.read_bytes()))
    versions = [tuple(int(part) for part in match.split(b".")) for match in found]
    return ".".join(map(str, max(versions, default=(2, 0))))


def _dynamic_strings(data: bytes) -> bytes:
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
