"""Elements that lie a few apart are picked out of vectors: every type, distance and length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm_ffi
from onnx import helper
from tvm import te, tirx, topi

from compiler.kernels.schedule import schedule
from compiler.target import load_target
from tests.executors import ONE_OF_EACH
from tests.kernels.grid import Case, failures, rng_of


def sliced(shape: tuple[int, ...], step: int, dtype: str) -> Case:
    """Every `step`th column but the first one, or from the last one back, twice as large."""
    name = f"sliced {dtype} {shape} {step}"
    first, end = (1, shape[-1]) if step > 0 else (shape[-1] - 1, -shape[-1] - 1)
    constants = {"from": np.array([first]), "to": np.array([end]), "axes": np.array([-1]), "steps": np.array([step])}
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axes", "steps"], ["s"]),
        helper.make_node("Add", ["s", "s"], ["y"]),
    ]
    return Case(name, nodes, {"x": rng_of(name).integers(0, 60, shape).astype(dtype)}, constants, tolerance=0.0)


def channels_first(shape: tuple[int, ...], dtype: str) -> Case:
    name = f"channels first {dtype} {shape}"
    data = rng_of(name).integers(0, 99, shape).astype(dtype)
    return Case(name, [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])], {"x": data}, tolerance=0.0)


@pytest.mark.parametrize("target", ONE_OF_EACH)
def test_results_are_exact(target: str, tmp_path: Path) -> None:
    types = ("float32", "uint8", "int32", "int64", "float16")
    shapes = ((2, 3, 71), (1, 1, 2), (3, 40), (2, 1, 33), (5, 150))
    cases = [sliced(shape, step, t) for shape in shapes for step in (1, 2, 3, 4, 5) for t in types]
    cases += [sliced((2, 40), -2, t) for t in types]
    images = ((1, 5, 7, 2), (2, 9, 4, 3), (1, 1, 1, 2), (2, 3, 17, 4), (1, 4, 4, 5), (3, 1, 16, 2))
    cases += [channels_first(shape, t) for shape in images for t in types]
    assert not failures(cases[:: 1 if target == "host" else 4], target, tmp_path)


@pytest.mark.parametrize("step,vectors", [(1, 0), (2, 2), (3, 3), (4, 4), (5, 0)])
def test_columns_a_few_apart_are_picked(step: int, vectors: int) -> None:
    x = te.placeholder((3, 40 * step), name="x")
    result = topi.strided_slice(x, [0, 0], [3, 40 * step], [1, step])
    made = schedule(te.create_prim_func([x, result], index_dtype_override="int64"), load_target("x86-64-v4"))
    found: set[int] = set()
    tvm_ffi.structural_walk(made.func, [(tirx.Shuffle, lambda shuffle: found.add(len(shuffle.vectors)))])
    assert made.rule == "injective" and found == ({vectors} if vectors else set())
