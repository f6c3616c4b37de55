"""Constants in fewer bits, from which the runtime makes the same bits again (runtime/unpack.c).

Of large float32 weights: what a narrower type holds exactly, as pixels and counts, is stored in it. Of other numbers
the exponents lie close together, and four bits say which; signs and mantissas stay as they are. Compare Lindstrom and
Isenburg, "Fast and Efficient Compression of Floating-Point Data", IEEE TVCG 12(5), 2006, who code exponents apart for
the same reason. Narrower weights, what there is by channel, and tables are in prefix codes (coding.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .coding import alike, as_bytes, encode
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

# Larger weights stay mapped from the file, whose pages processes share. Where few bytes are saved, all stay.
_MOST_BYTES = 4 << 20
_LEAST_SAVED = 0.08
# Smaller float32 weights gain too little, unless they are tables, of which codes save this share.
_WEIGHTS_BYTES = 64 << 10
_TABLE_SAVES = 0.5


@dataclass(frozen=True)
class Packed:
    """Constants in fewer bits: one of float32, or several that are coded together.

    Attributes:
        kind: as in runtime/program.h, without its prefix.
        data: the bytes that the file holds.
        count: numbers; of kind CODED, bytes.
        top: of kind EXPONENTS, the largest exponent with a code; of kind CODED, how many planes there are.
    """

    kind: str
    data: Array
    count: int
    top: int = 0


def pack_all(constants: Sequence[Array]) -> list[tuple[Packed, list[int]]]:
    """What is packed, with the numbers of the constants in it; none if they are large, or if that would save little."""
    whole = sum(align(array.nbytes) for array in constants)
    if whole > _MOST_BYTES:
        return []
    packed, rest = [], []
    for number, array in enumerate(constants):
        if array.dtype == np.float32 and array.nbytes >= _WEIGHTS_BYTES:
            if (one := pack(array)) is not None:
                packed.append((one, [number]))
        elif array.nbytes and _is_worth_codes(array):
            rest.append(number)
    for group in alike(constants, rest):
        packed.append((code([constants[number] for number in group.members], group.planes), group.members))
    packed = [(one, members) for one, members in packed if one.data.nbytes < _aligned(constants, members)]
    saved = sum(_aligned(constants, members) - one.data.nbytes for one, members in packed)
    return packed if saved >= _LEAST_SAVED * whole else []


def _is_worth_codes(array: Array) -> bool:
    """Narrow numbers, numbers by channel, and tables."""
    if array.dtype != np.float32 or max(array.shape, default=1) == array.size:
        return True
    (group,) = alike([array], [0])
    return group.cost < (1 - _TABLE_SAVES) * array.nbytes


def _aligned(constants: Sequence[Array], members: Sequence[int]) -> int:
    return sum(align(constants[number].nbytes) for number in members)


def code(arrays: Sequence[Array], planes: int) -> Packed:
    """The arrays, one behind the other, in codes of their own."""
    data = np.concatenate([as_bytes(array) for array in arrays])
    return Packed("CODED", encode(data, planes), data.size, planes)


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
    return Packed("EXPONENTS", data, bits.size, top)
