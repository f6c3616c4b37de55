"""Images of few channels whose channels become the last axis: every type, border and width."""

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
from tests.kernels.grid import Array, Case, failures, floats, rng_of

SHAPES = ((1, 3, 5, 40), (2, 2, 3, 17), (1, 4, 7, 64), (1, 3, 1, 1), (3, 2, 2, 5), (1, 4, 9, 16), (1, 3, 20, 3))


def turned(shape: tuple[int, ...], dtype: str) -> Case:
    """Channels last."""
    name = f"turned {dtype} {shape}"
    data = floats(name, *shape) if dtype == "float32" else rng_of(name).integers(0, 99, shape).astype(dtype)
    return Case(name, [helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1])], {"x": data})


def padded(shape: tuple[int, ...]) -> Case:
    """Bytes of floats, with a border and one channel more, channels last."""
    name = f"padded {shape}"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("Transpose", ["q"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Pad", ["t", "widths", "fill"], ["y"]),
    ]
    constants: dict[str, Array] = {
        "scale": np.asarray(1 / 64, np.float32),
        "zero": np.asarray(120, np.uint8),
        "widths": np.array([0, 1, 2, 0, 0, 0, 1, 1]),
        "fill": np.asarray(7, np.uint8),
    }
    return Case(name, nodes, {"x": floats(name, *shape)}, constants, tolerance=0.0)


def joined(shape: tuple[int, ...]) -> Case:
    """The channels of two images."""
    name = f"joined {shape}"
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
    ]
    return Case(name, nodes, {"a": floats(name, *shape), "b": floats(name + "b", shape[0], 1, *shape[2:])})


def taken_apart(shape: tuple[int, ...], block: int, dtype: str) -> Case:
    """Pixels of blocks as channels, last."""
    name = f"taken apart {dtype} {shape} {block}"
    nodes, parts, constants = [], [], {"axes": np.array([2, 3]), "steps": np.array([block] * 2)}
    ends = {"ends": np.array(shape[2:])}
    for number in range(block * block):
        constants |= ends | {f"from{number}": np.array(divmod(number, block))}
        parts.append(f"part{number}")
        nodes.append(helper.make_node("Slice", ["q", f"from{number}", "ends", "axes", "steps"], parts[-1:]))
    nodes.append(helper.make_node("Concat", parts, ["c"], axis=1))
    nodes.append(helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]))
    if dtype == "quantised":
        constants |= {"scale": np.asarray(0.3, np.float32), "zero": np.asarray(120, np.uint8)}
        first = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])
        return Case(name, [first, *nodes], {"x": 20 * floats(name, *shape)}, constants)
    data = floats(name, *shape) if dtype == "float32" else rng_of(name).integers(0, 99, shape).astype(dtype)
    return Case(name, [helper.make_node("Identity", ["x"], ["q"]), *nodes], {"x": data}, constants, tolerance=0.0)


@pytest.mark.parametrize("target", ONE_OF_EACH)
def test_results_are_exact(target: str, tmp_path: Path) -> None:
    cases = [turned(shape, dtype) for shape in SHAPES for dtype in ("float32", "uint8", "int32")]
    cases += [padded(shape) for shape in SHAPES] + [joined(shape) for shape in SHAPES if shape[1] < 4]
    blocks = ((1, 1, 2), (3, 5, 2), (3, 16, 2), (4, 33, 2), (1, 7, 3), (1, 40, 3), (1, 20, 4), (2, 9, 5), (5, 9, 2))
    cases += [
        taken_apart((batch, channels, 2 * block, width * block), block, dtype)
        for channels, width, block in blocks
        for batch, dtype in ((2, "float32"), (1, "uint8"), (2, "int32"), (2, "quantised"))
    ]
    assert not failures(cases[:: 1 if target == "host" else 3], target, tmp_path)


def test_bytes_of_an_image_are_written_in_vectors() -> None:
    x = te.placeholder((1, 3, 24, 40), name="x")
    bytes_last = topi.transpose(topi.cast(x, "uint8"), [0, 2, 3, 1])
    result = topi.nn.pad(bytes_last, [0, 1, 1, 0], [0, 1, 1, 1])
    made = schedule(te.create_prim_func([x, result], index_dtype_override="int64"), load_target("x86-64-v4"))
    assert made.rule == "injective"
    shuffles: list[int] = []
    tvm_ffi.structural_walk(made.func, [(tirx.Shuffle, lambda shuffle: shuffles.append(len(shuffle.indices)))])
    assert shuffles == [16] * 4, "four places of sixteen columns"


def test_columns_of_blocks_are_picked_out_of_vectors() -> None:
    x = te.placeholder((1, 3, 24, 64), name="x")
    parts = [topi.strided_slice(x, [0, 0, *divmod(n, 2)], [1, 3, 24, 64], [1, 1, 2, 2]) for n in range(4)]
    result = topi.transpose(topi.concatenate(parts, 1), [0, 2, 3, 1])
    made = schedule(te.create_prim_func([x, result], index_dtype_override="int64"), load_target("x86-64-v4"))
    shuffles: list[int] = []
    tvm_ffi.structural_walk(made.func, [(tirx.Shuffle, lambda shuffle: shuffles.append(len(shuffle.vectors)))])
    picked, by_threes, by_twos = [2] * 12, [3] * 12, [2] * 24
    assert shuffles == picked + by_threes[:6] + by_twos[:6] + by_threes[6:] + by_twos[6:]
