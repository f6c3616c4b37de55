"""Coded bytes come back from the C that devices run, and damaged ones are refused within their bounds."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from compiler.build.artifact import RUNTIME
from compiler.build.coding import LONGEST, alike, as_bytes, code_lengths, encode

Array = np.ndarray[Any, Any]
Decode = Callable[[Array, int, int], Array | None]

# What is read and what is written ends where a page without any rights begins.
SOURCE = """
#define _DEFAULT_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "decode.c"

static uint8_t *before_a_wall(size_t size, uint8_t **base, size_t *whole) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
  *whole = room + page;
  *base = mmap(NULL, *whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (*base == MAP_FAILED || mprotect(*base + room, page, PROT_NONE)) return NULL;
  return *base + room - size;
}

__attribute__((visibility("default"))) int decode(const uint8_t *data, uint32_t size, uint32_t planes, uint8_t *out,
                                                  uint32_t bytes) {
  uint8_t *bases[2];
  size_t wholes[2];
  uint8_t *from = before_a_wall(size, &bases[0], &wholes[0]), *to = before_a_wall(bytes, &bases[1], &wholes[1]);
  if (from == NULL || to == NULL) return -1;
  memcpy(from, data, size);
  int right = edgec_decode(from, from + size, planes, to, bytes) == from + size;
  memcpy(out, to, bytes);
  (void)munmap(bases[0], wholes[0]), (void)munmap(bases[1], wholes[1]);
  return right;
}
"""


@pytest.fixture(scope="module")
def decode(tmp_path_factory: pytest.TempPathFactory) -> Decode:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder: Path = tmp_path_factory.mktemp("decode")
    (folder / "one.c").write_text(SOURCE)
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", "-I", str(RUNTIME), "-o", "one.so"]
    subprocess.run(["cc", *flags, "one.c"], cwd=folder, check=True)
    one = ctypes.CDLL(str(folder / "one.so")).decode

    def run(data: Array, planes: int, size: int) -> Array | None:
        made = np.zeros(size, np.uint8)
        given = np.ascontiguousarray(data)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (given, made)]
        right = one(pointers[0], ctypes.c_uint32(given.size), planes, pointers[1], ctypes.c_uint32(size))
        assert right in (0, 1)
        return made if right else None

    return run


def bell(size: int, spread: float = 30.0) -> Array:
    """Bytes like those of 8-bit weights."""
    values = np.random.default_rng(size).standard_normal(size) * spread
    return np.clip(np.rint(values), -127, 127).astype(np.int8).view(np.uint8)


def check(decode: Decode, data: Array, planes: int) -> Array:
    coded = encode(data, planes)
    np.testing.assert_array_equal(decode(coded, planes, data.size), data)
    return coded


@given(npst.arrays(np.uint8, st.integers(1, 400).map(lambda size: 8 * size)), st.sampled_from([1, 2, 4, 8]))
def test_any_bytes_come_back(decode: Decode, data: Array, planes: int) -> None:
    check(decode, data, planes)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 19, 20, 21, 63, 64, 399, 400, 401, 4099])
@pytest.mark.parametrize("kinds", [1, 2, 3, 200])
def test_every_length(decode: Decode, size: int, kinds: int) -> None:
    data = np.random.default_rng(size).integers(0, kinds, size).astype(np.uint8)
    check(decode, data, 1)
    check(decode, np.repeat(data, 4), 4)


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0])
def test_codes_are_not_longer_than_the_table_of_the_runtime(decode: Decode, ratio: float) -> None:
    """Of bytes each more frequent than the one before; without a limit codes would be longer."""
    data = np.repeat(np.arange(14, dtype=np.uint8), [int(ratio**n) + 1 for n in range(14)])
    lengths = code_lengths(np.bincount(data, minlength=256))
    assert lengths.max() <= LONGEST and np.sum(2.0 ** -lengths[lengths > 0]) == 1
    coded = check(decode, np.random.default_rng(0).permutation(data), 1)
    assert coded.size < data.size


def test_code_lengths_are_the_best_ones() -> None:
    """Close to the entropy, which no code goes below; and where it can be seen which are best, those."""
    counts = np.bincount(bell(100_000), minlength=256)
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log2(shares)).sum()
    mean = (counts * code_lengths(counts)).sum() / counts.sum()
    assert entropy <= mean < entropy + 0.1
    few = np.zeros(256, np.int64)
    few[[3, 9, 10, 200, 255]] = [45, 13, 12, 16, 9]
    assert sorted(code_lengths(few)[few > 0]) == [1, 3, 3, 3, 3]


def test_what_kernels_fill_up_takes_nearly_nothing(decode: Decode) -> None:
    taps = np.zeros((1000, 4), np.uint8)
    taps[:, :3] = bell(3000).reshape(1000, 3)
    assert check(decode, taps.reshape(-1), 4).size < 3100
    assert check(decode, np.zeros(5000, np.uint8), 1).size == 10
    assert check(decode, np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8), 1).size == 5009


@given(st.data())
def test_damaged_bytes_are_refused_or_decoded_within_bounds(decode: Decode, data: st.DataObject) -> None:
    whole = np.concatenate([bell(240), np.repeat(np.arange(3, dtype=np.uint8), 80)])
    coded = encode(whole, 2)
    change = data.draw(st.sampled_from(["byte", "end", "random", "size"]))
    if change == "byte":
        coded = coded.copy()
        for _ in range(data.draw(st.integers(1, 4))):
            coded[data.draw(st.integers(0, coded.size - 1))] = data.draw(st.integers(0, 255))
        decode(coded, 2, whole.size)
    elif change == "random":
        decode(data.draw(npst.arrays(np.uint8, st.integers(0, 300))), data.draw(st.sampled_from([1, 2, 4])), 64)
    elif change == "end":
        assert decode(coded[: data.draw(st.integers(0, coded.size - 1))], 2, whole.size) is None
    else:
        wrong = data.draw(st.integers(2, 2000).filter(lambda size: abs(size - whole.size) > 16))
        assert decode(coded, 2, wrong) is None


@pytest.mark.parametrize("first", [3, 255])
def test_an_unknown_kind_of_plane_is_refused(decode: Decode, first: int) -> None:
    coded = encode(bell(4000), 1)
    assert coded[0] == 2 and decode(coded, 1, 4000) is not None
    coded[0] = first
    assert decode(coded, 1, 4000) is None


@pytest.mark.parametrize("lengths", [(), (1,), (1, 1, 1), (1, 2), (2, 2, 2), (1, 3, 3)])
def test_a_code_that_is_none_is_refused(decode: Decode, lengths: tuple[int, ...]) -> None:
    """Too many codes, too few, and a code that is too long; with the right ones, (1, 2, 2), the bytes are there."""

    def coded(*lengths: int) -> Array:
        zeros = 256 - len(lengths)
        nibbles = [*lengths, *[15] * (zeros // 16), *[0] * (zeros % 16), 0]
        table = [low | high << 4 for low, high in zip(nibbles[:-1:2], nibbles[1::2], strict=False)]
        sizes = [1, 0, 0, 0] * 4
        return np.array([2, *table, *sizes, 0, 0, 0, 0, *[0] * 8], np.uint8)

    right = decode(coded(1, 2, 2), 1, 4)
    assert right is not None and not right.any()
    assert decode(coded(*lengths), 1, 4) is None


def test_alike_constants_share_codes(decode: Decode) -> None:
    """16-bit numbers, 8-bit weights and counts go apart; small ones go with the large ones of their kind."""
    halves = [np.random.default_rng(i).standard_normal(size).astype(np.float16) for i, size in enumerate((9000, 40))]
    weights = [bell(8000).view(np.int8), bell(64).view(np.int8)]
    counts = [np.arange(2000, dtype=np.int64)]
    arrays: list[Array] = [*halves, *weights, *counts]
    groups = alike(arrays, range(5))
    assert sorted(group.members for group in groups) == [[0, 1], [2, 3], [4]]
    assert {group.members[0]: group.planes for group in groups} == {0: 2, 2: 1, 4: 8}
    for group in groups:
        data = as_bytes(arrays[group.members[0]])
        assert check(decode, data, group.planes).size < data.size


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_what_their_members_make_them(seed: int) -> None:
    """Each array is in one group, whose counts are known and whose size nearly is; together they take less."""
    rng = np.random.default_rng(seed)
    spreads = rng.choice([1.0, 3.0, 9.0, 30.0], 30)
    arrays = [bell(4 * int(size), spread) for size, spread in zip(rng.integers(4, 600, 30), spreads, strict=True)]
    arrays.append(np.arange(40, dtype=np.int32))
    groups = alike(arrays, range(31))
    assert sorted(number for group in groups for number in group.members) == list(range(31))
    together = 0
    for group in groups:
        data = np.concatenate([as_bytes(arrays[number]) for number in group.members])
        counts = [np.bincount(data[plane :: group.planes], minlength=256) for plane in range(group.planes)]
        np.testing.assert_array_equal(group.counts, counts)
        assert group.cost == pytest.approx(encode(data, group.planes).size, abs=24 + 0.05 * data.size)
        together += encode(data, group.planes).size
    assert together < sum(encode(as_bytes(array), 1).size for array in arrays)


def test_numbers_of_the_other_byte_order_are_turned() -> None:
    array = np.array([1, 258], ">u2")
    np.testing.assert_array_equal(as_bytes(array), [1, 0, 2, 1])
