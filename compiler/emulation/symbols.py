"""The functions of an A64 ELF file that was linked without stripping."""

from __future__ import annotations

import struct
from pathlib import Path

_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, info, alignment, entry size
_SYMBOL = struct.Struct("<IBBHQQ")  # name, type and binding, visibility, section, value, size
_SYMTAB, _FUNCTION, _EXECUTABLE = 2, 2, 4


def read_functions(path: Path) -> dict[int, str]:
    """Names by place in the file; empty if it is stripped.

    The bodies of parallel loops, which have no symbols, get the name of the function that takes their address.
    """
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry_size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [_SECTION.unpack_from(data, table + i * entry_size) for i in range(count)]
    functions: dict[int, str] = {}
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != _SYMTAB:
            continue
        names = sections[link][4]
        for name, info, _, section, value, length in _SYMBOL.iter_unpack(data[offset : offset + size]):
            if info & 15 != _FUNCTION or not 0 < section < count:
                continue
            text = data[names + name : data.index(b"\0", names + name)].decode()
            _, _, _, start, begin, extent, *_ = sections[section]
            functions[value - start + begin] = text
            code = struct.unpack_from(f"<{length // 4}I", data, value - start + begin)
            for address in _addresses_taken(code, value):
                if start <= address < start + extent:
                    functions.setdefault(address - start + begin, text)
    return functions


def _addresses_taken(code: tuple[int, ...], start: int) -> list[int]:
    """Addresses that the instructions from `start` on compute: by ADRP and ADD, or by ADR."""
    pages: dict[int, int] = {}
    found = []
    for index, word in enumerate(code):
        address = start + 4 * index
        offset = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
        offset -= (offset & 1 << 20) << 1
        if word & 0x9F000000 == 0x90000000:
            pages[word & 31] = (address & ~0xFFF) + (offset << 12)
        elif word & 0x9F000000 == 0x10000000:
            found.append(address + offset)
        elif word & 0xFFC00000 == 0x91000000 and word >> 5 & 31 in pages:
            found.append(pages[word >> 5 & 31] + (word >> 10 & 0xFFF))
    return found
