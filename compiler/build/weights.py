"""Lays the constants out as one read-only blob, which the operating system maps; some may be packed in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from .memory import align
from .packing import Packed, pack_all


@dataclass(frozen=True)
class Weights:
    """Where constants are.

    Attributes:
        offsets: byte offset of each constant in the blob.
        nbytes: of the blob.
        sha256: of the blob's bytes.
        packed: constants that the runtime unpacks, by their number, with the byte offset in the memory for that.
        unpacked_bytes: of that memory.
    """

    offsets: tuple[int, ...]
    nbytes: int
    sha256: str
    packed: Mapping[int, tuple[Packed, int]] = field(default_factory=dict)
    unpacked_bytes: int = 0


def write_weights(constants: Sequence[np.ndarray[Any, Any]], file: BinaryIO) -> Weights:
    """Writes the arrays in order, packed where that pays, each 64-byte aligned, in little-endian bytes."""
    digest = hashlib.sha256()
    offsets, position = [], 0
    packed: dict[int, tuple[Packed, int]] = {}
    unpacked_bytes = 0
    for number, (array, form) in enumerate(zip(constants, pack_all(constants), strict=True)):
        if form is not None:
            packed[number] = (form, unpacked_bytes)
            unpacked_bytes += align(array.nbytes)
            array = form.data
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
        offsets.append(position)
        position += align(data.nbytes)
        for part in (data.data, bytes(align(data.nbytes) - data.nbytes)):
            digest.update(part)
            file.write(part)
    return Weights(tuple(offsets), position, digest.hexdigest(), packed, unpacked_bytes)
