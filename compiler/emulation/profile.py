"""What ran in a window: counts by class of instruction, by file and by function.

Reads the blocks that blocks.c writes. Classes are those of A64 (Arm Architecture Reference Manual, DDI 0487, C4).
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CLASSES = (
    "multiply-add", "dot product", "SIMD load", "SIMD store", "SIMD other", "load", "store", "branch", "other",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Straight-line code: its address, how often it ran, and its instructions."""

    address: int
    runs: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Mapping:
    """Executable memory [begin, end) that holds `file` from `offset` on; anonymous memory has no name."""

    begin: int
    end: int
    offset: int
    file: str


def read_blocks(path: Path) -> list[Block]:
    blocks = []
    for line in path.read_text().splitlines():
        address, runs, *words = (int(text, 16) for text in line.split())
        blocks.append(Block(address, runs, tuple(words)))
    return blocks


def parse_maps(lines: Iterable[str]) -> list[Mapping]:
    """The executable ones of /proc/PID/maps, by address."""
    mappings = []
    for line in lines:
        bounds, rights, offset, _, _, *file = line.split(maxsplit=5)
        if "x" in rights:
            begin, end = (int(text, 16) for text in bounds.split("-"))
            mappings.append(Mapping(begin, end, int(offset, 16), file[0].strip() if file else ""))
    return sorted(mappings, key=lambda mapping: mapping.begin)


def classify(word: int) -> str:
    """One of CLASSES."""
    group = word >> 25 & 15
    if group & 7 == 7:
        # FMLA, FMLS as vectors and by element; FMADD and its kin.
        if word & 0xBF20FC00 == 0x0E20CC00 or word & 0xBF80B400 == 0x0F801000 or word & 0xFF000000 == 0x1F000000:
            return "multiply-add"
        if word & 0x9F20FC00 == 0x0E009400 or word & 0x9F00F400 == 0x0F00E000:  # SDOT, UDOT
            return "dot product"
        return "SIMD other"
    if group & 5 == 4:
        simd, loads = _memory_access(word)
        return ("SIMD " if simd else "") + ("load" if loads else "store")
    return "branch" if group & 14 == 10 else "other"


def _memory_access(word: int) -> tuple[bool, bool]:
    """Whether it moves vectors, and whether it loads."""
    simd = bool(word >> 26 & 1)
    if word & 0xBE000000 == 0x0C000000:  # structures: LD1, LD1R, ST1 …
        return True, bool(word >> 22 & 1)
    if word & 0x3B000000 == 0x18000000:  # literals
        return simd, True
    if word & 0x3A000000 == 0x28000000:  # pairs
        return simd, bool(word >> 22 & 1)
    return simd, bool(word >> 22 & (1 if simd else 3))


def count_classes(blocks: Iterable[Block]) -> Counter[str]:
    """Executed instructions by class."""
    counts: Counter[str] = Counter()
    seen: dict[int, str] = {}
    for block in blocks:
        for word in block.words:
            if word not in seen:
                seen[word] = classify(word)
            counts[seen[word]] += block.runs
    return counts


def group_by_file(blocks: Iterable[Block], mappings: list[Mapping]) -> dict[str, list[Block]]:
    """Blocks by the mapped file that holds them, their addresses those in the file; "" is code of no file."""
    groups: dict[str, list[Block]] = {}
    begins = [mapping.begin for mapping in mappings]
    for block in blocks:
        at = bisect.bisect_right(begins, block.address) - 1
        inside = at >= 0 and block.address < mappings[at].end
        file = mappings[at].file if inside else ""
        place = block.address - mappings[at].begin + mappings[at].offset if inside else block.address
        groups.setdefault(file, []).append(Block(place, block.runs, block.words))
    return groups


def group_by_function(blocks: Iterable[Block], functions: dict[int, str]) -> dict[str, list[Block]]:
    """Blocks by the function that begins last before them; `functions` are names by place in the file."""
    places = sorted(functions)
    groups: dict[str, list[Block]] = {}
    for block in blocks:
        at = bisect.bisect_right(places, block.address) - 1
        groups.setdefault(functions[places[at]] if at >= 0 else "", []).append(block)
    return groups
