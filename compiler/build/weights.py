"""Lays the constants out as one read-only blob, which the operating system maps; some may be packed in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from .coding import as_bytes
from .memory import align
from .multiples import find_multiples
from .packing import Packed, pack_all


@dataclass(frozen=True)
class Part:
    """What is packed together.

    Attributes:
        packed: its bytes, which are no longer needed.
        offset: of them in the blob.
        to: byte offset of the first constant in the memory for what the runtime unpacks.
        sizes: bytes of each constant there, the next one at the next multiple of the alignment.
    """

    packed: Packed
    offset: int
    to: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """Where constants are.

    Attributes:
        offsets: byte offset in the blob of each constant that is not packed, by its number.
        nbytes: of the blob.
        sha256: of the blob's bytes.
        parts: what is packed in it.
        unpacked: of each constant that the runtime unpacks, the byte offset in the memory for that.
        unpacked_bytes: of that memory.
        multiples: of constants there that are made of another: its number and the other's, and how many numbers they
            have. Only whole numbers of it are packed (multiples.py).
    """

    offsets: Mapping[int, int]
    nbytes: int
    sha256: str
    parts: tuple[Part, ...] = ()
    unpacked: Mapping[int, int] = field(default_factory=dict)
    unpacked_bytes: int = 0
    multiples: tuple[tuple[int, int, int], ...] = ()


def write_weights(constants: Sequence[np.ndarray[Any, Any]], file: BinaryIO, pack: bool = True) -> Weights:
    """Writes the arrays in little-endian bytes: in order and 64-byte aligned, then what is packed, without gaps."""
    digest = hashlib.sha256()
    position = 0

    def write(data: np.ndarray[Any, Any], size: int) -> int:
        nonlocal position
        for part in (data.data, bytes(size - data.nbytes)):
            digest.update(part)
            file.write(part)
        position += size
        return position - size

    multiples = find_multiples(constants) if pack else []
    counts = {one.number: one.counts for one in multiples}
    packed = pack_all([counts.get(number, array) for number, array in enumerate(constants)]) if pack else []
    inside = {number for _, members in packed for number in members}
    offsets = {
        number: write(as_bytes(array), align(array.nbytes))
        for number, array in enumerate(constants)
        if number not in inside
    }
    parts, unpacked, unpacked_bytes = [], {}, 0
    for one, members in packed:
        sizes = tuple(constants[number].nbytes for number in members)
        parts.append(Part(one, write(one.data, one.data.nbytes), unpacked_bytes, sizes))
        for number, size in zip(members, sizes, strict=True):
            unpacked[number] = unpacked_bytes
            unpacked_bytes += align(size)
    made = tuple((one.number, one.by, one.counts.size) for one in multiples if one.number in inside)
    return Weights(offsets, position, digest.hexdigest(), tuple(parts), unpacked, unpacked_bytes, made)
