"""Conversions of 16-bit floats, all numbers of them, with instructions and without."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from compiler.kernels.float16 import has_conversions
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import load_target
from compiler.target_detect import missing_here, running_machine
from tests.networks import model

COUNT = 1 << 16


@pytest.fixture(scope="module", params=["x86-64-v3", "x86-64-v2"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """`half` of float16 → `wide`; `x` of float32 → `narrow` of float16."""
    target = load_target(request.param)
    if target.machine != running_machine() or missing_here(target):
        pytest.skip(f"{target.name} code does not run here")
    assert has_conversions(target) == (request.param == "x86-64-v3")
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["x"], ["narrow"], to=TensorProto.FLOAT16),
    ]
    inputs = [value("half", TensorProto.FLOAT16, [COUNT]), value("x", TensorProto.FLOAT, [COUNT])]
    outputs = [value("wide", TensorProto.FLOAT, [COUNT]), value("narrow", TensorProto.FLOAT16, [COUNT])]
    path = tmp_path_factory.mktemp("halves") / "halves.so"
    return Model(compile_model(model(nodes, inputs, outputs), target, path, verify=False).path, threads=1)


def test_every_float16_is_widened(loaded: Model) -> None:
    halves = np.arange(COUNT, dtype=np.uint16).view(np.float16)
    result = loaded.run({"half": halves, "x": np.zeros(COUNT, np.float32)})["wide"]
    np.testing.assert_array_equal(result, halves.astype(np.float32))


@pytest.mark.parametrize("scale", [1e-8, 1e-6, 1e-4, 1.0, 1e4, 1e5, 1e30])
def test_float32_is_rounded_to_the_nearest(loaded: Model, scale: float) -> None:
    x = (np.random.default_rng(1).standard_normal(COUNT) * scale).astype(np.float32)
    # In the middle of two neighbours, at the ends, and what is no number.
    x[:2048] = np.arange(2048, dtype=np.float32) * 2 + 2049
    x[2048:2056] = [65504, 65519.9, 65520, -65520, np.inf, -np.inf, np.nan, -0.0]
    result = loaded.run({"half": np.zeros(COUNT, np.float16), "x": x})["narrow"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(result, x.astype(np.float16))


def test_bfloat16_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    """Between two kernels, as the larger of two equal rows is none that joins others."""
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [node("ReduceMax", ["x"], ["a"], axes=[0], keepdims=1), node("Concat", ["a", "a"], ["b"], axis=0)]
    nodes.append(node("ReduceMax", ["b"], ["y"], axes=[0], keepdims=0))
    proto = model(
        nodes, [value("x", TensorProto.FLOAT, [2, COUNT])], [value("y", TensorProto.FLOAT, [COUNT])], opset=13
    )
    artifact = compile_model(proto, "host", tmp_path / "rounded.so", precision="bf16", verify=False)
    x = np.random.default_rng(2).standard_normal(COUNT).astype(np.float32)
    x[:512] = (np.arange(512, dtype=np.uint32) * 0x8000 + 0x3F800000).view(np.float32)  # in the middle of neighbours
    x[512:515] = [np.inf, -np.inf, -0.0]
    with Model(artifact.path, threads=1) as loaded:
        result = loaded.run({"x": np.stack([x, x])})["y"]
    np.testing.assert_array_equal(result, x.astype(ml_dtypes.bfloat16).astype(np.float32))
