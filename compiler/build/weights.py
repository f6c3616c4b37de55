"""Lays the constants out as one read-only blob, which the operating system maps and never copies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .memory import align


@dataclass(frozen=True)
class Weights:
    """Byte offset of each constant in the blob, its size, and the SHA-256 of its bytes."""

    offsets: tuple[int, ...]
    nbytes: int
    sha256: str


def write_weights(constants: Sequence[np.ndarray[Any, Any]], file: BinaryIO) -> Weights:
    """Writes the arrays in order, each 64-byte aligned, in little-endian bytes."""
    digest = hashlib.sha256()
    offsets, position = [], 0
    for array in constants:
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
        offsets.append(position)
        position += align(data.nbytes)
        for part in (data.data, bytes(align(data.nbytes) - data.nbytes)):
            digest.update(part)
            file.write(part)
    return Weights(tuple(offsets), position, digest.hexdigest())
