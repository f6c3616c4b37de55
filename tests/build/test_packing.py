"""Packed weights come back bit by bit, whatever they are, from the C that devices run."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from onnx import TensorProto, helper, numpy_helper

from compiler.build import weights
from compiler.build.artifact import RUNTIME
from compiler.build.memory import align
from compiler.build.packing import Packed, code, pack_all, pack_exponents
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import load_target
from compiler.verify.execute import execute
from tests.executors import executor_or_skip
from tests.networks import convnet, model

Array = np.ndarray[Any, Any]
Unpack = Callable[..., Array]

SOURCE = """
#define _DEFAULT_SOURCE
#include "internal.h"
static const uint8_t *given;
#define edgec_weights given
#include "unpack.c"
#include "decode.c"
const edgec_program edgec_program_ = {0};
__attribute__((visibility("default"))) int unpack_these(const edgec_packed *packed, const uint32_t *sizes,
                                                        const uint8_t *from, uint8_t *to) {
  given = from;
  return unpack_one(packed, sizes, to);
}
"""
SPECIAL = np.array(
    [0, 1 << 31, 1, 0x80000001, 0x7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00001, 0x7F800001, 0xFFFFFFFF, 0x7F7FFFFF],
    np.uint32,
).view(np.float32)


@pytest.fixture(scope="module")
def unpack(tmp_path_factory: pytest.TempPathFactory) -> Unpack:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    folder: Path = tmp_path_factory.mktemp("unpack")
    (folder / "one.c").write_text(SOURCE)
    sources = ["one.c", str(RUNTIME / "memory.c")]
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", "-I", str(RUNTIME), "-o", "one.so"]
    subprocess.run(["cc", *flags, *sources], cwd=folder, check=True)
    these = ctypes.CDLL(str(folder / "one.so")).unpack_these

    def run(packed: Packed, *sizes: int) -> Array:
        """The constants of these sizes, by default one of float32, and what fills them up."""
        sizes = sizes or (4 * packed.count,)
        made = np.zeros(sum(align(size) for size in sizes), np.uint8)
        data = np.ascontiguousarray(packed.data)
        row = struct.pack("<5I2B2x", 0, data.size, 0, packed.count, len(sizes), packed.planes, packed.top)
        assert these(
            row, np.array(sizes, np.uint32).tobytes(), *map(ctypes.c_void_p, (data.ctypes.data, made.ctypes.data))
        )
        return made if packed.planes else made.view(np.float32)[: packed.count]

    return run


def check(unpack: Unpack, array: Array) -> Packed:
    packed = pack_exponents(array)
    assert packed is not None
    np.testing.assert_array_equal(unpack(packed).view(np.uint32), array.reshape(-1).view(np.uint32))
    return packed


def normal(*shape: int) -> Array:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


@given(npst.arrays(np.uint32, st.integers(1, 300)))
def test_any_bits_come_back(unpack: Unpack, bits: Array) -> None:
    """Among enough others that a form is smaller at all."""
    check(unpack, np.concatenate([bits.view(np.float32), normal(2003)]))


@pytest.mark.parametrize("scale", [1, 1e-38, 1e-44, 3e37])
@pytest.mark.parametrize("count", [4096, 4097])
def test_special_numbers_come_back(unpack: Unpack, scale: float, count: int) -> None:
    with np.errstate(over="ignore"):
        check(unpack, np.concatenate([SPECIAL, normal(count) * np.float32(scale), SPECIAL]))


def test_numbers_without_order_stay() -> None:
    assert pack_exponents(np.random.default_rng(0).integers(0, 2**32, 5000, np.uint32).view(np.float32)) is None


@pytest.mark.parametrize("change", [-1, 1])
def test_exponents_with_a_wrong_size_are_refused(unpack: Unpack, change: int) -> None:
    """Of those that stand in a list, one is missing or too much; and not even the rest is there."""
    packed = check(unpack, np.concatenate([SPECIAL, normal(301)]))
    for data in (np.resize(packed.data, packed.data.size + change), packed.data[:100]):
        with pytest.raises(AssertionError):
            unpack(replace(packed, data=data))


@pytest.mark.parametrize(
    ("values", "bytes_each"),
    [
        (np.arange(-128, 128), 1.3),
        (np.arange(256), 1.3),
        (np.arange(-(2**15), 2**15), 2.3),
        (np.arange(2**16, dtype=np.uint16).view(np.float16)[: 31 << 10], 2.0),
        ((np.arange(2**16, dtype=np.uint32) << 16).view(np.float32), 2.01),
    ],
)
def test_floats_that_a_narrow_type_holds(unpack: Unpack, values: Array, bytes_each: float) -> None:
    array = np.tile(values.astype(np.float32), max(1, (1 << 16) // values.size)).reshape(64, -1)
    ((packed, members),) = pack_all([array])
    assert members == [0] and packed.data.nbytes < bytes_each * array.size + 1000
    np.testing.assert_array_equal(unpack(packed, array.nbytes).view(np.uint32), array.reshape(-1).view(np.uint32))


def test_what_is_packed() -> None:
    """float32 weights of some size, narrower ones of any, of a model that is small, and if it is worth it."""
    floats, integers = normal(16, 1 << 11), np.arange(1 << 13)
    packed = pack_all([floats, integers, floats[:2, :100]])
    assert [(one.planes > 0, members) for one, members in packed] == [(False, [0]), (True, [1])]
    assert packed[0][0].data.nbytes < 0.8751 * floats.nbytes and packed[1][0].data.nbytes < 0.6 * integers.nbytes
    noise = np.random.default_rng(0).integers(0, 2**63, 1 << 15)
    assert pack_all([floats, noise]) == []  # a third of it, by an eighth
    assert pack_all([normal(1 << 20), floats]) == []
    assert pack_all([]) == []


def test_small_floats_are_packed_by_channel_and_as_tables() -> None:
    """Beside weights that are worth it: a bias, places in a grid, shares of neighbours; no weights, and nothing that is
    not there."""
    grid = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None] / 8, (40, 40))
    places = np.linspace(0, 79, 320, dtype=np.float32) % 1
    constants = [normal(8, 700).astype(np.float16), normal(1, 1, 96), normal(40, 40), grid, np.zeros((0, 3), np.int8)]
    constants += [np.stack([1 - places, places], 1), normal(2, 100)]
    assert sorted(number for _, members in pack_all(constants) for number in members) == [0, 1, 3, 5]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=6))
def test_constants_that_are_coded_together_come_back_aligned(unpack: Unpack, sizes: list[int]) -> None:
    arrays = [normal(size).astype(np.float16) for size in sizes]
    memory = unpack(code(arrays, 2), *(array.nbytes for array in arrays))
    at = 0
    for array in arrays:
        np.testing.assert_array_equal(memory[at : at + array.nbytes].view(np.uint16), array.view(np.uint16))
        at += align(array.nbytes)


@pytest.mark.parametrize("name", ["host", pytest.param("generic-armv7", marks=pytest.mark.arm)])
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_an_artifact_of_narrow_weights_is_the_same_packed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, precision: str
) -> None:
    target = load_target(name)
    executor = executor_or_skip(target)
    data = {"x": normal(1, 3, 9, 9)}
    found, sizes = [], []
    for packs in (True, False):
        if not packs:
            monkeypatch.setattr(weights, "pack_all", lambda constants: [])
        path = tmp_path / f"{packs}.so"
        given: dict[str, Any] = {"calibration": {"x": normal(4, 3, 9, 9)}} if precision == "int8" else {}
        artifact = compile_model(
            convnet(batch="n"), name, path, precision=precision, shapes={"x": (1, 3, 9, 9)}, verify=False, **given
        )
        memory = artifact.manifest["memory"]
        assert ("unpacked_bytes" in memory) == packs
        sizes.append(memory["weights_bytes"])
        found.append(execute(executor, path, data, threads=1))
    assert sizes[0] < 0.92 * sizes[1]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(found[0][one], found[1][other])


def test_an_artifact_computes_with_what_was_packed(tmp_path: Path) -> None:
    """Two products, of which one has whole numbers; a second context while there is a first, and one after all."""
    weight, whole = normal(64, 512), np.arange(64 * 512).reshape(64, 512) % 251
    nodes = [helper.make_node("MatMul", ["x", "a"], ["ya"]), helper.make_node("MatMul", ["x", "b"], ["yb"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 512]) for name in ("ya", "yb")]
    given = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in (("a", weight), ("b", whole))]
    artifact = compile_model(model(nodes, [x], outputs, given), "host", tmp_path / "a.so")
    assert artifact.verified == "passed"
    memory = artifact.manifest["memory"]
    assert memory["unpacked_bytes"] > memory["weights_bytes"] > 0.4 * memory["unpacked_bytes"]
    data = normal(3, 64)
    expected = data.astype(np.float64) @ whole
    for _again in range(2):
        with Model(artifact.path, threads=1) as first, Model(artifact.path, threads=2) as second:
            for one in (first, second):
                np.testing.assert_allclose(one.run({"x": data})["yb"], expected, rtol=1e-5, atol=1e-2)
