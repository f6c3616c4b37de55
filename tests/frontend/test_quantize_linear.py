"""QuantizeLinear and DequantizeLinear in artifacts, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.runtime.loader import Model
from compiler.verify.reference import run_reference
from tests.frontend.checks import prepared, refusal
from tests.models import model, node, value


def run(proto: onnx.ModelProto, inputs: dict[str, Any], folder: Path) -> dict[str, Any]:
    compile_model(proto, out=folder / "model.so", verify=False)
    results: dict[str, Any] = Model(str(folder / "model.so")).run(inputs)
    return results


def same(proto: onnx.ModelProto, inputs: dict[str, Any], folder: Path) -> None:
    expected = run_reference(proto, inputs)[1]
    got = run(proto, inputs, folder)
    for name, want in expected.items():
        assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype), name
        np.testing.assert_array_equal(got[name], want, name)


RNG = np.random.default_rng(0)
# Halves between two steps, values beyond all limits, and ordinary ones.
X = np.concatenate([np.arange(-12, 12) / 4, [1e9, -1e9, np.inf, -np.inf], RNG.standard_normal(7) * 300])
X = X.astype(np.float32).reshape(5, 7)
TYPES = ("uint8", "int8", "uint16", "int16")


def test_quantize_of_all_types(tmp_path: Path) -> None:
    nodes, outputs, constants = [], [], {"half": np.float32(0.5), "row": np.float32([0.5, 0.25, 1, 2, 3, 0.1, 7])}
    for dtype in TYPES:
        constants[f"z_{dtype}"] = np.asarray(3, dtype)
        constants[f"zs_{dtype}"] = np.arange(7).astype(dtype)
        nodes.append(node("QuantizeLinear", f"x half z_{dtype}", dtype))
        nodes.append(node("QuantizeLinear", f"x row zs_{dtype}", f"rows_{dtype}", axis=-1))
        outputs += [value(dtype, None, dtype), value(f"rows_{dtype}", None, dtype)]
    nodes += [node("QuantizeLinear", "x half", "plain"), node("QuantizeLinear", "x half", "named", output_dtype=3)]
    outputs += [value("plain", None, "uint8"), value("named", None, "int8")]
    same(model(nodes, {"x": [5, 7]}, outputs, constants, opset=21), {"x": X}, tmp_path)


def test_dequantize_of_all_types(tmp_path: Path) -> None:
    nodes, outputs, inputs = [], [], {}
    constants: dict[str, Any] = {"scale": np.float32(0.3), "row": np.float32([0.5, 0.25, 1, 2, 3, 0.1, 7])}
    for dtype in (*TYPES, "int32"):
        limits = np.iinfo(dtype)
        inputs[f"x_{dtype}"] = RNG.integers(limits.min, limits.max, (5, 7), dtype, endpoint=True)
        constants[f"z_{dtype}"] = np.asarray(3 * (dtype != "int32"), dtype)
        nodes.append(node("DequantizeLinear", f"x_{dtype} scale z_{dtype}", dtype))
        nodes.append(node("DequantizeLinear", f"x_{dtype} row", f"rows_{dtype}", axis=1))
        outputs += [value(dtype, None), value(f"rows_{dtype}", None)]
    taken = {name: ([5, 7], str(array.dtype)) for name, array in inputs.items()}
    same(model(nodes, taken, outputs, constants, opset=21), inputs, tmp_path)


def test_blocks_and_scales_that_are_inputs(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", "x scales zeros", "q", axis=0, block_size=2),
        node("DequantizeLinear", "q scales zeros", "y", axis=0, block_size=2),
        node("QuantizeLinear", "x scale", "p"),
    ]
    shapes: dict[str, Any] = {"x": [5, 7], "scales": [3, 7], "zeros": ([3, 7], "int8"), "scale": []}
    outputs = [value("q", None, "int8"), value("y", None), value("p", None, "uint8")]
    inputs = {
        "x": X,
        "scales": RNG.uniform(0.1, 3, (3, 7)).astype(np.float32),
        "zeros": RNG.integers(-9, 9, (3, 7), np.int8),
        "scale": np.asarray(0.7, np.float32),
    }
    same(model(nodes, shapes, outputs, opset=21), inputs, tmp_path)


@pytest.mark.parametrize("dtype", ["INT4", "UINT4", "FLOAT8E4M3FN"])
def test_weights_of_few_bits(dtype: str, tmp_path: Path) -> None:
    kind = onnx.TensorProto.DataType.Value(dtype)
    weights = RNG.integers(0, 8, (4, 6)).astype(np.float32)
    narrow = [
        onnx.helper.make_tensor("w", kind, [4, 6], weights.ravel()),
        onnx.helper.make_tensor("z", kind, [], [0 if "FLOAT" in dtype else 3]),
    ]
    nodes = [node("DequantizeLinear", "w s z", "d"), node("MatMul", "x d", "y")]
    proto = model(nodes, {"x": [3, 4]}, [value("y", None)], {"s": np.float32(0.5)}, opset=21)
    proto.graph.initializer.extend(narrow)
    assert [n.op_type for n in prepared(proto).proto.graph.node] == ["MatMul"]
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    want = x @ ((weights - (0 if "FLOAT" in dtype else 3)) * np.float32(0.5))
    np.testing.assert_allclose(run(proto, {"x": x}, tmp_path)["y"], want, rtol=1e-5, atol=1e-5)


def test_results_of_few_bits_are_refused() -> None:
    proto = model([node("QuantizeLinear", "x s", "y", output_dtype=22)], {"x": [3]}, [], {"s": np.float32(1)}, opset=21)
    proto.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT4, [3]))
    assert "int4" in refusal(proto)


def test_a_quantised_network_is_exact(tmp_path: Path) -> None:
    """Convolution, addition, pooling, product of matrices: every step as onnxruntime takes it."""
    ms = "com.microsoft"
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearConv", "q s z w ws wz s z b", "c", pads=[1, 1, 1, 1]),
        node("QLinearAdd", "c s z q s z s z", "a", ms),
        node("QLinearGlobalAveragePool", "a s z s z", "p", ms),
        node("Reshape", "p form", "r"),
        node("QLinearMatMul", "r s z m ws mz s z", "f"),
        node("DequantizeLinear", "f s z", "y"),
    ]
    constants = {
        "s": np.float32(0.043),
        "z": np.uint8(117),
        "w": RNG.integers(-127, 128, (6, 6, 3, 3), np.int8),
        "ws": RNG.uniform(1e-3, 3e-3, 6).astype(np.float32),
        "wz": np.zeros(6, np.int8),
        "b": RNG.integers(-5000, 5000, 6, np.int32),
        "form": np.asarray([2, 6]),
        "m": RNG.integers(-127, 128, (6, 6), np.int8),
        "mz": np.zeros(6, np.int8),
    }
    outputs = [value("c", None, "uint8"), value("f", None, "uint8"), value("y", None)]
    proto = model(nodes, {"x": [2, 6, 9, 7]}, outputs, constants, opset=13, domains=[ms])
    same(proto, {"x": (RNG.standard_normal((2, 6, 9, 7)) * 2).astype(np.float32)}, tmp_path)
