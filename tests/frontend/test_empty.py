"""Tensors without elements, scalars and constants, from ONNX to what the artifact computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.verify.reference import run_reference
from tests.models import model, node, random_inputs

F = np.float32
EMPTY = {
    "concat": node("Concat", "x none", "concat", axis=1),
    "concat_in": node("Concat", "empty x empty", "concat_in", axis=0),
    "relu": node("Relu", "empty", "relu"),
    "softmax": node("Softmax", "empty", "softmax"),
    "sum": node("ReduceSum", "empty first", "sum", keepdims=0),
    "max": node("ReduceMax", "empty", "max", keepdims=0, axes=[0]),
    "prod": node("ReduceProd", "empty", "prod", axes=[0]),
    "slice": node("Slice", "x two two", "slice"),
    "matmul": node("MatMul", "thin flat", "matmul"),
    "gemm": node("Gemm", "thin flat row", "gemm"),
    "gemm_in": node("Gemm", "thin flat x4", "gemm_in"),
    "conv": node("Conv", "images w", "conv"),
    "pad": node("Pad", "empty pads", "pad"),
    "einsum": node("Einsum", "thin flat", "einsum", equation="ij,jk->ik"),
    "part": node("Split", "x parts", "part part1 part2 part3", axis=1),
    "whole": node("Split", "x all_parts", "whole whole1", axis=-1),
    "shape": node("Shape", "empty", "shape"),
    "pass": node("Identity", "empty", "pass"),
    "scatter": node("ScatterND", "x no_places no_rows", "scatter"),
    "scalar": node("ReduceSum", "x", "scalar", keepdims=0),
    "twice": node("Add", "s s", "twice"),
}


def test_no_elements_end_to_end(tmp_path: Path) -> None:
    constants = {
        "none": np.zeros((2, 0), F),
        "first": np.array([0]),
        "two": np.array([2]),
        "row": np.arange(4, dtype=F),
        "w": np.ones((1, 1, 3, 3), F),
        "pads": np.array([2, 0, 0, 0]),
        "parts": np.array([0, 1, 0, 2]),
        "all_parts": np.array([3, 0]),
        "no_places": np.zeros((0, 1), np.int64),
        "no_rows": np.zeros((0, 3), F),
    }
    inputs = {
        "x": [2, 3],
        "empty": [0, 3],
        "thin": [2, 0],
        "flat": [0, 4],
        "x4": [2, 4],
        "images": [0, 1, 4, 4],
        "s": [],
    }
    proto = model(list(EMPTY.values()), inputs, [*EMPTY, "part1", "part3", "whole1", "x", "row"], constants)
    feeds = random_inputs(proto)
    _, expected = run_reference(proto, feeds)
    artifact = compile_model(proto, "host", tmp_path / "empty.so")
    assert artifact.verified == "passed"
    with Model(artifact.path) as loaded:
        results = loaded.run(feeds)
    for name, want in expected.items():
        assert (results[name].shape, results[name].dtype) == (want.shape, want.dtype), name
        np.testing.assert_allclose(results[name], want, rtol=1e-5, err_msg=name)


def test_a_model_of_constants_only(tmp_path: Path) -> None:
    proto = model([node("Add", "c c", "y")], {}, ["y", "c"], {"c": F([1, 2])})
    with Model(compile_model(proto, "host", tmp_path / "c.so").path) as loaded:
        np.testing.assert_array_equal(loaded.run({})["y"], F([2, 4]))


def test_old_softmax_and_a_branch_end_to_end(tmp_path: Path) -> None:
    proto = model([node("Softmax", "x", "y"), node("Resize", "y s", "z")], {"x": [1, 2, 4, 4]}, ["y", "z"],
                  {"s": F([1, 1, 0.5, 0.75])}, opset=10)  # fmt: skip
    feeds = random_inputs(proto)
    artifact = compile_model(proto, "host", tmp_path / "o.so")
    assert artifact.verified == "passed"
    with Model(artifact.path) as loaded:
        results = loaded.run(feeds)
    for name, want in run_reference(proto, feeds)[1].items():
        np.testing.assert_allclose(results[name], want, rtol=1e-5, err_msg=name)


def test_ranges_and_filled_tensors_end_to_end(tmp_path: Path) -> None:
    constants = {
        "zero": np.array(2),
        "many": np.array(600_000),
        "step": np.array(3),
        "size": np.array([300_000]),
        "f0": F(1),
        "f1": F(90_000),
        "f2": F(0.25),
        "places": np.array([1, 0, 2]),
        "depth": np.array(3),
        "values": F([0, 1]),
    }
    nodes = [
        node("Range", "zero many step", "r"),
        node("Range", "f0 f1 f2", "f"),
        node("ConstantOfShape", "size", "c"),
        node("OneHot", "i depth values", "o"),
    ]
    proto = model(nodes, {"i": ([4], "int64")}, ["r", "f", "c", "o"], constants)
    assert compile_model(proto, "host", tmp_path / "r.so").verified == "passed"


def test_our_own_converters_end_to_end(tmp_path: Path) -> None:
    constants = {"i3": np.array([0, 1, 2], np.int64), "two": F([2]), "inf": F([np.inf, 1, 2])}
    nodes = [
        node("Pow", "i i3", "p"),
        node("Abs", "x", "a"),
        node("Pow", "a i3", "q"),
        node("LpNormalization", "x", "l2"),
        node("LpNormalization", "x", "l1", axis=0, p=1),
        node("Mul", "x inf", "big"),
        node("IsInf", "big", "both"),
        node("IsInf", "big", "up", detect_negative=0),
        node("IsInf", "big", "down", detect_positive=0),
    ]
    outputs = ["p", "q", "l2", "l1", "both", "up", "down"]
    proto = model(nodes, {"i": ([2, 3], "int64"), "x": [2, 3]}, outputs, constants)
    assert compile_model(proto, "host", tmp_path / "p.so").verified == "passed"
