"""Constants in fewer bits, from which the runtime makes the same bits again (runtime/unpack.c).

Most are in prefix codes (coding.py). The exponents of float32 weights lie close together, and four bits say which,
which takes a little more but half the time; signs and mantissas stay as they are. Compare Lindstrom and Isenburg, "Fast
and Efficient Compression of Floating-Point Data", IEEE TVCG 12(5), 2006, who code exponents apart for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .coding import alike, as_bytes, encode
from .memory import align

Array = np.ndarray[Any, Any]

_CODED = 14  # exponents with a code; two further codes are of an exponent of zero, and of any other
_ABSENT, _ESCAPED = 14, 15

# Larger weights stay mapped from the file, whose pages processes share. Where few bytes are saved, all stay.
_MOST_BYTES = 4 << 20
_LEAST_SAVED = 0.08
# Of float32 numbers, those by channel are in prefix codes, tables of few columns, as of interpolation, and those that
# these save much of, as of pixels, counts and halves. Others are weights, of which small ones gain too little.
_COLUMNS = 4
_LEAST_BYTES = 64 << 10
_CODES_SAVE = 0.4
_CODES_SAVE_OF_SMALL = 0.5


@dataclass(frozen=True)
class Packed:
    """Constants in fewer bits: some that are coded together, or one of float32.

    Attributes:
        data: the bytes that the file holds.
        count: bytes of coded ones; numbers.
        planes: of coded ones, see coding.Group; 0 if they are not coded.
        top: the largest exponent with a code.
    """

    data: Array
    count: int
    planes: int = 0
    top: int = 0


def pack_all(constants: Sequence[Array]) -> list[tuple[Packed, list[int]]]:
    """What is packed, with the numbers of the constants in it; none if they are large, or if that would save little."""
    whole = sum(align(array.nbytes) for array in constants)
    if whole > _MOST_BYTES:
        return []
    packed, coded = [], []
    for number, array in enumerate(constants):
        if array.nbytes and _is_worth_codes(array):
            coded.append(number)
        elif array.nbytes >= _LEAST_BYTES and (one := pack_exponents(array)) is not None:
            packed.append((one, [number]))
    for group in alike(constants, coded):
        packed.append((code([constants[number] for number in group.members], group.planes), group.members))
    packed = [(one, members) for one, members in packed if one.data.nbytes < _aligned(constants, members)]
    saved = sum(_aligned(constants, members) - one.data.nbytes for one, members in packed)
    return packed if saved >= _LEAST_SAVED * whole else []


def _is_worth_codes(array: Array) -> bool:
    by_channel = max(array.shape, default=1) == array.size
    if array.dtype != np.float32 or by_channel or array.size <= _COLUMNS * len(array):
        return True
    (group,) = alike([array], [0])
    save = _CODES_SAVE if array.nbytes >= _LEAST_BYTES else _CODES_SAVE_OF_SMALL
    return group.cost < (1 - save) * array.nbytes


def _aligned(constants: Sequence[Array], members: Sequence[int]) -> int:
    return sum(align(constants[number].nbytes) for number in members)


def code(arrays: Sequence[Array], planes: int) -> Packed:
    """The arrays, one behind the other, in codes of their own."""
    data = np.concatenate([as_bytes(array) for array in arrays])
    return Packed(encode(data, planes), data.size, planes)


def pack_exponents(array: Array) -> Packed | None:
    """float32 numbers with codes for their exponents; None if that is not smaller."""
    bits = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
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
    return Packed(data, bits.size, top=top) if data.nbytes < array.nbytes else None
