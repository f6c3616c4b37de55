"""Products by dequantised constants keep their weights in 4 or 8 bits; their artifacts too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.frontend.domains import PROGRAMS
from compiler.frontend.prepare import load_model, prepare
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from tests.models import model, node

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
INPUTS, OUTPUTS = 256, 96

_TYPES = {"int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4, "int8": np.int8, "uint8": np.uint8}
_RANGES = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}


def kept(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    prepared = prepare(load_model(proto))
    assert not prepared.obstacles
    return [n for n in prepared.proto.graph.node if (n.domain, n.op_type) == (PROGRAMS, "FewBits")]


def dequantised(
    kind: str, shape: tuple[int, int], axis: int, block: int, zeros: bool
) -> tuple[dict[str, Array], Array]:
    """The constants w, s, z of a DequantizeLinear, and what it makes of them."""
    low, high = _RANGES[kind]
    w = RNG.integers(low, high, shape)
    sizes = list(shape)
    sizes[axis] = -(-shape[axis] // block) if block else shape[axis]
    scales = sizes if block else [shape[axis]]
    s = (RNG.random(scales) + 0.5).astype(np.float32)
    z = RNG.integers(low, high, scales) if zeros else np.zeros(scales, np.int64)

    def spread(part: Array) -> Array:
        if block:
            return np.repeat(part, block, axis)[: shape[0], : shape[1]]
        return part.reshape([-1 if i == axis else 1 for i in range(2)])

    floats = ((w - spread(z)) * spread(s)).astype(np.float32)
    constants = {"w": w.astype(_TYPES[kind]), "s": s} | ({"z": z.astype(_TYPES[kind])} if zeros else {})
    return constants, floats


@pytest.mark.parametrize(("axis", "block"), [(0, 32), (0, 0), (1, 0), (1, 24)])
@pytest.mark.parametrize(
    ("kind", "turned"),
    [
        ("int4", None),
        ("int8", None),
        ("uint4", "Transpose"),
        ("uint8", "Transpose"),
        ("uint4", "Gemm"),
        ("int8", "Gemm"),
    ],
)
def test_dequantised_weights(kind: str, axis: int, block: int, turned: str | None, tmp_path: Path) -> None:
    shape = (OUTPUTS, INPUTS) if turned else (INPUTS, OUTPUTS)
    constants, floats = dequantised(kind, shape, axis, block, zeros=bool(block))
    attributes = {"axis": axis} | ({"block_size": block} if block else {})
    nodes = [node("DequantizeLinear", " ".join(constants), "f", **attributes)]
    if turned == "Transpose":
        nodes.append(node("Transpose", "f", "t", perm=[1, 0]))
    if turned == "Gemm":
        constants["c"] = RNG.standard_normal(OUTPUTS).astype(np.float32)
        nodes.append(node("Gemm", "x f c", "y", transB=1))
    else:
        nodes.append(node("MatMul", "x t" if turned else "x f", "y"))
    proto = model(nodes, {"x": [2, INPUTS]}, ["y"], {}, opset=21)
    for name, value in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    proto.ir_version = 10
    along_sums = (axis == 0) == (turned is None)
    # Scales that differ from input to input leave nothing to gain.
    assert len(kept(proto)) == (along_sums == bool(block))
    if block and along_sums:
        artifact = compile_model(proto, "host", tmp_path / "few.so", verify=False)
        with Model(artifact.path) as loaded:
            x = RNG.standard_normal((2, INPUTS)).astype(np.float32)
            expected = x.astype(np.float64) @ (floats.T if turned else floats) + constants.get("c", 0)
            np.testing.assert_allclose(loaded.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-3)
        assert [k["rule"] for k in artifact.manifest["kernels"]].count("few_bits") == 1
        bits = 4 if kind.endswith("4") else 8
        assert (
            artifact.manifest["memory"]["weights_bytes"]
            < INPUTS * OUTPUTS * (bits / 8 + 5 / (32 if block == 32 else 8)) + 2048
        )


def test_products_of_quantised_data_are_left() -> None:
    constants, _ = dequantised("int8", (INPUTS, OUTPUTS), 1, 0, zeros=False)
    constants |= {"xs": np.float32(0.1), "xz": np.uint8(128)}
    nodes = [
        node("QuantizeLinear", "x xs xz", "q"),
        node("DequantizeLinear", "q xs xz", "d"),
        node("DequantizeLinear", "w s", "f", axis=1),
        node("MatMul", "d f", "y"),
    ]
    assert kept(model(nodes, {"x": [2, INPUTS]}, ["y"], constants)) == []


def test_few_weights_become_floats() -> None:
    constants, _ = dequantised("int8", (64, 64), 1, 0, zeros=False)
    nodes = [node("DequantizeLinear", "w s", "f", axis=1), node("MatMul", "x f", "y")]
    assert kept(model(nodes, {"x": [2, 64]}, ["y"], constants)) == []


def test_shapes_behind_products_of_few_bits_are_inferred() -> None:
    """More of them in a chain than there are rounds of inference."""
    nodes, constants, value = [], {}, "x"
    for layer in range(20):
        constants[f"w{layer}"] = np.full((128, 4, 16), 136, np.uint8)
        constants[f"s{layer}"] = np.full((128, 4), 0.01, np.float32)
        sizes = {"N": 128, "K": 128, "bits": 4, "block_size": 32}
        nodes.append(node("MatMulNBits", f"{value} w{layer} s{layer}", f"h{layer}", "com.microsoft", **sizes))
        nodes.append(node("Tanh", f"h{layer}", f"t{layer}"))
        value = f"t{layer}"
    outputs = [helper.make_tensor_value_info(value, 1, None)]
    proto = model(nodes, {"x": [1, 3, 128]}, outputs, constants, domains=["com.microsoft"])
    assert len(kept(proto)) == 20
