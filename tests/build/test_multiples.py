"""Constants that are multiples of others come back bit by bit from whole numbers, by the C that devices run."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from compiler.build import weights
from compiler.build.artifact import RUNTIME
from compiler.build.multiples import Multiple, find_multiples
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from tests.networks import convnet

Array = np.ndarray[Any, Any]
Multiply = Callable[[Multiple, Array, bool], Array]

SOURCE = """
#define _DEFAULT_SOURCE
#include "internal.h"
static const uint8_t *given;
#define edgec_weights given
#include "unpack.c"
#include "decode.c"
const edgec_program edgec_program_ = {0};
__attribute__((visibility("default"))) void multiply_one(const edgec_multiple *one, const uint8_t *from, uint8_t *to) {
  given = from;
  multiply(one, to);
}
"""


@pytest.fixture(scope="module")
def multiply(tmp_path_factory: pytest.TempPathFactory) -> Multiply:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder: Path = tmp_path_factory.mktemp("multiply")
    (folder / "one.c").write_text(SOURCE)
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", "-I", str(RUNTIME), "-o", "one.so"]
    subprocess.run(["cc", *flags, "one.c", str(RUNTIME / "memory.c")], cwd=folder, check=True)
    one = ctypes.CDLL(str(folder / "one.so")).multiply_one

    def run(found: Multiple, by: Array, unpacked: bool) -> Array:
        """The constant, between bytes that stay; what it is multiplied by is behind it, or in the file."""
        data = np.concatenate([np.full(1, 77, np.int32), found.counts.reshape(-1), np.full(1, 77, np.int32)])
        memory = np.concatenate([data.view(np.uint8), by.reshape(-1).view(np.uint8)])
        file = np.zeros(1, np.uint8) if unpacked else memory.copy()
        if not unpacked:
            memory[data.nbytes :] = 0
        row = struct.pack("<4I", 4, data.nbytes, found.counts.size, unpacked)
        one(row, ctypes.c_void_p(file.ctypes.data), ctypes.c_void_p(memory.ctypes.data))
        words = memory[: data.nbytes].view(np.int32)
        assert words[0] == words[-1] == 77
        return words[1:-1].view(np.float32)

    return run


def normal(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("unpacked", [False, True])
@given(npst.arrays(np.int32, st.integers(1, 70), elements=st.integers(-(2**24) + 1, 2**24 - 1)))
def test_multiples_come_back(multiply: Multiply, unpacked: bool, counts: Array) -> None:
    by = np.abs(normal(counts.size)) + np.float32(0.01)
    array = counts.astype(np.float32) * by
    (found,) = find_multiples([by, array])
    assert (found.number, found.by) == (1, 0)
    np.testing.assert_array_equal(multiply(found, by, unpacked).view(np.uint32), array.view(np.uint32))


def test_what_is_no_multiple() -> None:
    by, counts = np.abs(normal(1, 5)) + np.float32(0.1), np.arange(5, dtype=np.int32)[None] - 2
    array = counts.astype(np.float32) * by
    assert len(find_multiples([by, array])) == 1
    for other in (
        np.nextafter(array, np.float32(9)),
        array.astype(np.float64),
        array[:, :4],
        array.reshape(5),
        np.where(array == 0, np.float32(-0.0), array),
        np.where(array > 0, np.float32(np.inf), array),
        np.where(array > 0, np.float32(np.nan), array),
        array * np.float32(1e-37),
        array * np.float32(2**26),
    ):
        assert find_multiples([by, other]) == []
    assert find_multiples([array, array * 3]) == []  # one is zero
    assert find_multiples([by[:, :0], array[:, :0]]) == [] and find_multiples([]) == []
    assert find_multiples([by, *(np.zeros(n, np.int8) for n in range(4)), array]) == []  # far apart


def test_none_is_made_of_another_that_is_made() -> None:
    by = np.abs(normal(6)) + np.float32(0.1)
    made = find_multiples([by, by * 3, by * 6])
    assert [(one.number, one.by) for one in made] == [(1, 0), (2, 0)]


def test_biases_of_an_artifact_are_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose results are the same with the biases as they are, packed or not."""
    data = {"x": normal(1, 3, 9, 9)}
    seen: list[int] = []
    find = find_multiples
    monkeypatch.setattr(
        weights, "find_multiples", lambda constants: seen.append(len(found := find(constants))) or found
    )
    results = []
    for name in ("as whole numbers", "packed", "plain"):
        if name == "packed":
            monkeypatch.setattr(weights, "find_multiples", lambda constants: [])
        elif name == "plain":
            monkeypatch.setattr(weights, "pack_all", lambda constants: [])
        path = tmp_path / f"{name}.so"
        samples = {"x": normal(4, 3, 9, 9)}
        compile_model(convnet(), out=path, precision="int8", calibration=samples, verify=False)
        with Model(str(path)) as model:
            results.append(model.run(data)["y"])
    assert seen[-1] == 3  # of three layers
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
