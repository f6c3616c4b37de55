"""Constants of few kinds of bytes in prefix codes, which the runtime decodes (runtime/decode.c).

Bytes of 8-bit weights are not all equally frequent, nor are the upper halves of 16-bit numbers; and what kernels fill
up with zeros, as the tenth to twelfth of nine taps, takes next to nothing. Codes: Huffman, "A Method for the
Construction of Minimum-Redundancy Codes", Proc. IRE 40(9), 1952, here of at most LONGEST bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LONGEST = 11  # bits of a code, as in runtime/decode.c
_STREAMS = 4  # that are decoded at once
_BEYOND = 8  # bytes behind all planes, which the runtime may read but does not use
_SAME, _RAW, _CODED = 0, 1, 2  # the first byte of a plane
_PLANES = (1, 2, 4, 8)


@dataclass
class Group:
    """Constants whose bytes are alike.

    Attributes:
        planes: every so manyeth byte shares a code: 2 if upper and lower bytes of 16-bit numbers have one each.
        counts: [planes, 256] how often each byte is in each plane.
        cost: bytes that the codes and what is coded in them take, about.
        members: numbers of the constants.
    """

    planes: int
    counts: Array
    cost: float
    members: list[int] = field(default_factory=list)


def alike(arrays: Sequence[Array], numbers: Sequence[int]) -> list[Group]:
    """Puts the arrays with these numbers, none of them empty, into groups such that the whole takes few bytes.

    The largest go first, each to the group that grows least, or into one of its own if that is smaller; then each once
    more, as the groups are by now.
    """
    groups: list[Group] = []
    counted: dict[int, dict[int, Array]] = {}
    order = sorted(numbers, key=lambda n: (-arrays[n].nbytes, n))
    for number in order:
        data = as_bytes(arrays[number])
        counted[number] = {planes: _count(data, planes) for planes in _PLANES if data.size % planes == 0}
        _join(groups, number, counted[number])
    for number in order:
        group = next(group for group in groups if number in group.members)
        group.members.remove(number)
        if group.members:
            group.counts = group.counts - counted[number][group.planes]
            group.cost = _cost(group.counts)
        groups = [group for group in groups if group.members]
        _join(groups, number, counted[number])
    return groups


def _join(groups: list[Group], number: int, counted: Mapping[int, Array]) -> None:
    """Puts an array with these counts, by the number of planes, where it takes the least."""
    alone = [Group(planes, counts, _cost(counts)) for planes, counts in counted.items()]
    best = min(alone, key=lambda group: group.cost)
    least, place = best.cost, -1
    for index, group in enumerate(groups):
        if group.planes in counted:
            grown = _cost(group.counts + counted[group.planes]) - group.cost
            if grown < least:
                least, place = grown, index
    if place < 0:
        groups.append(best)
    else:
        best = groups[place]
        best.counts = best.counts + counted[best.planes]
        best.cost += least
    best.members.append(number)


def encode(data: Array, planes: int) -> Array:
    """The bytes for `data`, whose size is a multiple of `planes`: one plane after the other."""
    coded = [_encode_plane(data[plane::planes]) for plane in range(planes)]
    return np.concatenate([*coded, np.zeros(_BEYOND, np.uint8)])


def as_bytes(array: Array) -> Array:
    """The array's bytes, little-endian."""
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).reshape(-1).view(np.uint8)


def code_lengths(counts: Array) -> Array:
    """The length of each byte's code, 0 for those that are not there; two are, at least.

    Larmore and Hirschberg, "A Fast Algorithm for Optimal Length-Limited Huffman Codes", JACM 37(3), 1990.
    """
    coins: list[tuple[int, tuple[int, ...]]] = sorted((int(counts[byte]), (int(byte),)) for byte in counts.nonzero()[0])
    packages = coins
    for _ in range(LONGEST - 1):
        pairs = zip(packages[::2], packages[1::2], strict=False)
        packages = sorted(coins + [(a + b, left + right) for (a, left), (b, right) in pairs])
    lengths = np.zeros(256, np.int64)
    for _, symbols in packages[: 2 * len(coins) - 2]:
        for byte in symbols:
            lengths[byte] += 1
    return lengths


def _encode_plane(data: Array) -> Array:
    counts = _count(data, 1)[0]
    if np.count_nonzero(counts) == 1:
        return np.array([_SAME, data[0]], np.uint8)
    lengths = code_lengths(counts)
    rest = data.size % _STREAMS
    streams = [_encode_stream(piece, lengths) for piece in data[: data.size - rest].reshape(_STREAMS, -1)]
    sizes = np.array([stream.size for stream in streams], "<u4").view(np.uint8)
    coded = np.concatenate(
        [np.array([_CODED], np.uint8), _encode_lengths(lengths), sizes, *streams, data[data.size - rest :]]
    )
    return coded if coded.size <= data.size else np.concatenate([np.array([_RAW], np.uint8), data])


def _encode_lengths(lengths: Array) -> Array:
    """Four bits a length; larger numbers stand for 2, 4, 8 or 16 zeros."""
    nibbles: list[int] = []
    byte = 0
    while byte < 256:
        zeros = next((run for run in (16, 8, 4, 2) if byte + run <= 256 and not lengths[byte : byte + run].any()), 1)
        nibbles.append(LONGEST + zeros.bit_length() - 1 if zeros > 1 else int(lengths[byte]))
        byte += zeros
    pairs = np.array(nibbles + [0] * (len(nibbles) % 2), np.uint8).reshape(-1, 2)
    return pairs[:, 0] | pairs[:, 1] << 4


def _encode_stream(data: Array, lengths: Array) -> Array:
    """The codes one after the other, from the highest bit of each byte on."""
    codes, code = np.zeros(256, np.int64), 0
    for byte in sorted(np.flatnonzero(lengths), key=lambda byte: (lengths[byte], byte)):
        codes[byte] = code >> LONGEST - int(lengths[byte])
        code += 1 << LONGEST - int(lengths[byte])
    sizes = lengths[data]
    ends = np.cumsum(sizes)
    bits = np.zeros(int(ends[-1]) if data.size else 0, np.uint8)
    for bit in range(LONGEST):  # from the last of each code on
        there = sizes > bit
        bits[ends[there] - 1 - bit] = codes[data[there]] >> bit & 1
    return np.packbits(bits)


def _count(data: Array, planes: int) -> Array:
    return np.stack([np.bincount(data[plane::planes], minlength=256) for plane in range(planes)])


def _cost(counts: Array) -> float:
    """Bytes for planes with these counts, about: what is coded, and its code."""
    totals, kinds = counts.sum(axis=1), np.count_nonzero(counts, axis=1)
    shares = np.where(counts, counts, 1) / totals[:, None]
    coded = -(counts * np.log2(shares)).sum(axis=1) / 8 + kinds / 2 + 32
    return float(np.where(kinds == 1, 2, np.minimum(coded, totals + 1)).sum())
