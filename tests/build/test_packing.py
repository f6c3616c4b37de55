"""Packed weights come back bit by bit, whatever they are, from the C that devices run."""

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
from onnx import TensorProto, helper, numpy_helper

from compiler.build.artifact import RUNTIME
from compiler.build.packing import Packed, pack, pack_all
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from tests.networks import model

Array = np.ndarray[Any, Any]
Unpack = Callable[[Packed], Array]

SOURCE = """
#include "unpack.c"
const edgec_program edgec_program_ = {0};
__attribute__((visibility("default"))) int unpack_one(int kind, int top, uint32_t count, uint32_t escaped,
                                                      const uint8_t *from, uint32_t size, uint8_t *to) {
  edgec_packed packed = {from, 0, count, escaped, (uint8_t)kind, (uint8_t)top};
  const uint8_t *end = kind == EDGEC_PACKED_EXPONENTS ? unpack_exponents(&packed, to) : unpack_narrow(&packed, to);
  return end == from + size;
}
"""
KINDS = ("INT8", "UINT8", "INT16", "UINT16", "FLOAT16", "BFLOAT16", "EXPONENTS")
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
    one = ctypes.CDLL(str(folder / "one.so")).unpack_one

    def run(packed: Packed) -> Array:
        made = np.zeros(packed.count, np.float32)
        data = np.ascontiguousarray(packed.data)
        pointers = ctypes.c_void_p(data.ctypes.data), ctypes.c_uint32(data.size), ctypes.c_void_p(made.ctypes.data)
        assert one(KINDS.index(packed.kind), packed.top, packed.count, packed.escaped, *pointers)
        return made

    return run


def check(unpack: Unpack, array: Array, kind: str | None = None) -> None:
    packed = pack(array)
    assert packed is not None
    assert kind in (None, packed.kind)
    np.testing.assert_array_equal(unpack(packed).view(np.uint32), array.reshape(-1).view(np.uint32))


def normal(*shape: int) -> Array:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


@given(npst.arrays(np.uint32, st.integers(1, 300)))
def test_any_bits_come_back(unpack: Unpack, bits: Array) -> None:
    """Among enough others that a form is smaller at all."""
    check(unpack, np.concatenate([bits.view(np.float32), normal(2003)]), "EXPONENTS")


@given(npst.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=16)))
def test_any_halves_come_back(unpack: Unpack, values: Array) -> None:
    if (packed := pack(values)) is not None:
        np.testing.assert_array_equal(unpack(packed).view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("scale", [1, 1e-38, 1e-44, 3e37])
@pytest.mark.parametrize("count", [4096, 4097])
def test_special_numbers_come_back(unpack: Unpack, scale: float, count: int) -> None:
    with np.errstate(over="ignore"):
        check(unpack, np.concatenate([SPECIAL, normal(count) * np.float32(scale), SPECIAL]))


@pytest.mark.parametrize(
    ("kind", "values", "size"),
    [
        ("INT8", np.arange(-128, 128), 1),
        ("UINT8", np.arange(256), 1),
        ("INT16", np.arange(-(2**15), 2**15), 2),
        ("UINT16", np.arange(2**16), 2),
        ("BFLOAT16", np.arange(2**16, dtype=np.uint32) << 16, 2),
    ],
)
def test_every_value_of_a_narrow_type(unpack: Unpack, kind: str, values: Array, size: int) -> None:
    array = values.view(np.float32) if kind == "BFLOAT16" else values.astype(np.float32)
    check(unpack, array, kind)
    packed = pack(array)
    assert packed is not None and packed.data.nbytes == size * array.size


def test_every_half(unpack: Unpack) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    check(unpack, halves[~np.isnan(halves)].astype(np.float32), "FLOAT16")


def test_a_negative_zero_is_no_integer() -> None:
    packed = pack(np.array([1, -0.0], np.float32))
    assert packed is not None and packed.kind == "FLOAT16"


def test_numbers_without_order_stay() -> None:
    assert pack(np.random.default_rng(0).integers(0, 2**32, 5000, np.uint32).view(np.float32)) is None
    assert pack(np.arange(9)) is None


def test_what_is_packed() -> None:
    """Only float32 of some size, of a model that is small, and if it is worth it."""
    floats, integers = normal(1 << 15), np.arange(1 << 13)
    packed = pack_all([floats, integers, floats[:100]])
    assert [one is not None for one in packed] == [True, False, False]
    assert packed[0] is not None and packed[0].data.nbytes < 0.8751 * floats.nbytes
    assert pack_all([floats, np.arange(1 << 15)]) == [None, None]  # a third of it, by an eighth
    assert pack_all([normal(1 << 20), floats]) == [None, None]
    assert pack_all([]) == []


def test_an_artifact_computes_with_what_was_packed(tmp_path: Path) -> None:
    """Two products, of which one has whole numbers; a second context while there is a first, and one after all."""
    weight, whole = normal(64, 512), np.arange(64 * 512).reshape(64, 512) % 251
    nodes = [helper.make_node("MatMul", ["x", "a"], ["ya"]), helper.make_node("MatMul", ["x", "b"], ["yb"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 512]) for name in ("ya", "yb")]
    weights = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in (("a", weight), ("b", whole))]
    artifact = compile_model(model(nodes, [x], outputs, weights), "host", tmp_path / "a.so")
    assert artifact.verified == "passed"
    memory = artifact.manifest["memory"]
    assert memory["unpacked_bytes"] > memory["weights_bytes"] > 0.4 * memory["unpacked_bytes"]
    data = normal(3, 64)
    expected = data.astype(np.float64) @ whole
    for _again in range(2):
        with Model(artifact.path, threads=1) as first, Model(artifact.path, threads=2) as second:
            for one in (first, second):
                np.testing.assert_allclose(one.run({"x": data})["yb"], expected, rtol=1e-5, atol=1e-2)
