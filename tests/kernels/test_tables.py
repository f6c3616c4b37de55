"""Tables of 256 bytes on every instruction set that reads them in a way of its own: all values, rows of any length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tvm import te, tirx

from compiler.build.codegen import lower_kernel
from compiler.kernels.schedule import schedule
from compiler.target import load_target
from tests.kernels.grid import Array, Case, failures

# Shapes that are one row in memory; their sizes are whole vectors and not, and less than one behind the last.
SHAPES = ((256,), (1, 257), (3, 5, 31), (2, 3, 67, 1), (1, 1, 1024), (4, 7, 40), (5, 383))


def negative(shape: tuple[int, ...], elem: str) -> Case:
    """-x in 8 bits: every entry of the table is another, and 0 has to saturate."""
    info = np.iinfo(elem)
    size = int(np.prod(shape))
    data = (np.arange(size) * 89 % 256 + info.min).astype(elem).reshape(shape)
    zero = np.asarray(info.min + 120, elem)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["real"]),
        helper.make_node("Neg", ["real"], ["negative"]),
        helper.make_node("QuantizeLinear", ["negative", "scale", "zero"], ["y"]),
    ]
    constants: dict[str, Array] = {"scale": np.asarray(0.5, np.float32), "zero": zero}
    expected = np.clip(2 * int(zero) - data.astype(int), info.min, info.max).astype(elem)
    return Case(f"{elem} {shape}", nodes, {"x": data}, constants, expected=(expected,))


@pytest.mark.parametrize(
    "target",
    [
        "host",
        "x86-64-v4",  # AVX-512 without VBMI
        "x86-64-v3",
        "x86-64-v2",
        pytest.param("generic-aarch64", marks=pytest.mark.arm),
        pytest.param("generic-armv7", marks=pytest.mark.arm),
        pytest.param("generic-riscv64", marks=pytest.mark.arm),  # entry by entry
    ],
)
def test_every_entry_is_found(target: str, tmp_path: Path) -> None:
    cases = [negative(shape, elem) for shape in SHAPES for elem in ("uint8", "int8")]
    assert not failures(cases, target, tmp_path)


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        ("x86-64-v4", "avx512.pshuf.b.512"),
        ("x86-64-v3", "avx2.pshuf.b"),
        ("x86-64-v2", "ssse3.pshuf.b.128"),
        ("generic-aarch64", "neon.tbx4"),
        ("generic-armv7", "neon.vtbx4"),
    ],
)
def test_rows_are_read_in_vectors(target: str, instruction: str) -> None:
    described = load_target(target)
    data, table = te.placeholder((3, 7, 40), "uint8", name="data"), te.placeholder((256,), "uint8", name="table")
    result = te.compute(data.shape, lambda *at: table[tirx.Cast("int32", data[at])])
    made = schedule(te.create_prim_func([data, table, result], index_dtype_override="int64"), described)
    assert made.rule == "injective"
    assert instruction in lower_kernel(made.func, "read", described).script()
