"""Biases that count steps of sums: float32 constants that are whole numbers times another constant, stored as these.

A layer of 8 bits has a multiplier for each channel's sums, and a bias that is so many times it. The whole number has
some 14 bits, where the product fills the mantissa; the runtime multiplies again (runtime/unpack.c), to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_NEAR = 4  # constants between the two, at most
_MOST = 1 << 24  # up to which float32 holds all whole numbers


@dataclass(frozen=True)
class Multiple:
    """A constant that is made of another.

    Attributes:
        number: of the constant.
        by: number of the one that the whole numbers are multiplied by.
        counts: the whole numbers, int32 in the constant's shape.
    """

    number: int
    by: int
    counts: Array


def find_multiples(constants: Sequence[Array]) -> list[Multiple]:
    """What can be stored so without changing a bit; of what is multiplied by, none is stored so itself."""
    found: dict[int, Multiple] = {}
    for number, array in enumerate(constants):
        for by in range(number - 1, max(-1, number - 1 - _NEAR), -1):
            if by not in found and (counts := _counts(array, constants[by])) is not None:
                found[number] = Multiple(number, by, counts)
                break
    return list(found.values())


def _counts(array: Array, by: Array) -> Array | None:
    if array.dtype != np.float32 or by.dtype != np.float32 or array.shape != by.shape or not array.size:
        return None
    with np.errstate(all="ignore"):
        counts = np.rint(array.astype(np.float64) / by)
        if not ((np.abs(counts) < _MOST) & (np.abs(by) >= np.finfo(np.float32).tiny)).all():
            return None
        made = counts.astype(np.int32).astype(np.float32) * by
    same = made.view(np.uint32) == np.ascontiguousarray(array).view(np.uint32)
    usual = (made == 0) | (np.abs(made) >= np.finfo(np.float32).tiny)  # some processors make others zeros
    return counts.astype(np.int32) if (same & usual).all() else None
