"""float32 weights in fewer bits, from which the runtime makes the same bits again (runtime/unpack.c).

What a narrower type holds exactly, as pixels and counts, is stored in it. Of other numbers the exponents lie close
together, and four bits say which; signs and mantissas stay as they are. Compare Lindstrom and Isenburg, "Fast and
Efficient Compression of Floating-Point Data", IEEE TVCG 12(5), 2006, who code exponents apart for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .memory import align

Array = np.ndarray[Any, Any]

_NARROW: tuple[tuple[str, Any], ...] = (
    ("INT8", np.int8),
    ("UINT8", np.uint8),
    ("INT16", np.int16),
    ("UINT16", np.uint16),
    ("FLOAT16", np.float16),
)
_CODED = 14  # exponents with a code; two further codes are of an exponent of zero, and of any other
_ABSENT, _ESCAPED = 14, 15

# Larger weights stay mapped from the file, whose pages processes share; smaller constants gain too little.
_MOST_BYTES = 4 << 20
_LEAST_BYTES = 64 << 10
_LEAST_SAVED = 0.08


@dataclass(frozen=True)
class Packed:
    """A float32 constant in fewer bits.

    Attributes:
        kind: as in runtime/program.h, without its prefix.
        data: the bytes that the file holds.
        count: numbers.
        top: of kind EXPONENTS, the largest exponent with a code.
        escaped: of kind EXPONENTS, how many exponents stand in the list behind the codes.
    """

    kind: str
    data: Array
    count: int
    top: int = 0
    escaped: int = 0


def pack_all(constants: Sequence[Array]) -> list[Packed | None]:
    """Each constant packed, or None where it stays; all stay if they are large, or if that would save little."""
    whole = sum(align(array.nbytes) for array in constants)
    packed = [pack(array) if array.nbytes >= _LEAST_BYTES and whole <= _MOST_BYTES else None for array in constants]
    saved = sum(
        align(array.nbytes) - align(one.data.nbytes) for array, one in zip(constants, packed, strict=True) if one
    )
    return packed if saved and saved >= _LEAST_SAVED * whole else [None] * len(constants)


def pack(array: Array) -> Packed | None:
    """The smallest form that gives the same bits; None if `array` is not float32, or no form is smaller."""
    if array.dtype != np.float32:
        return None
    values = np.ascontiguousarray(array).reshape(-1)
    bits = values.view(np.uint32)
    for kind, dtype in _NARROW:
        with np.errstate(all="ignore"):
            narrow = values.astype(dtype)
        if np.array_equal(narrow.astype(np.float32).view(np.uint32), bits):
            data = narrow.astype(narrow.dtype.newbyteorder("<"), copy=False)
            return Packed(kind, data.view(np.uint8), values.size)
    if not (bits & 0xFFFF).any():
        return Packed("BFLOAT16", (bits >> 16).astype("<u2").view(np.uint8), values.size)
    packed = _pack_exponents(bits)
    return packed if packed.data.nbytes < array.nbytes else None


def _pack_exponents(bits: Array) -> Packed:
    exponents = (bits >> 23 & 0xFF).astype(np.uint8)
    counts = np.bincount(exponents, minlength=256)
    counts[0] = 0
    inside = np.convolve(counts, np.ones(_CODED, np.int64))[:256]  # how many lie in the window below each exponent
    top = int(inside.argmax())
    codes = top - exponents.astype(np.int64)
    codes[(codes < 0) | (codes >= _CODED)] = _ESCAPED
    codes[exponents == 0] = _ABSENT
    escaped = exponents[codes == _ESCAPED]
    low = (bits >> 8 & 0x800000) | (bits & 0x7FFFFF)
    bytes_of_low = low.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    pairs = np.append(codes, np.zeros(codes.size % 2, codes.dtype)).reshape(-1, 2).astype(np.uint8)
    data = np.concatenate([bytes_of_low.reshape(-1), pairs[:, 0] | pairs[:, 1] << 4, escaped])
    return Packed("EXPONENTS", data, bits.size, top, escaped.size)
