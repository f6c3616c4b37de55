"""Element-wise operators of types and values that TVM's converters get wrong, compiled and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from compiler.runtime.loader import Model
from tests.models import model, node, value

EDGES = np.array([np.nan, np.inf, -np.inf, -20, -0.5, 0, 0.75, 2.5, 30], np.float32)
INPUTS: dict[str, Any] = {
    "f": EDGES,
    "rows": np.array([[-np.inf, -np.inf], [np.inf, 1], [500, 500]], np.float32),
    "h": np.array([-0.75, -0.1, 0, 0.3, 0.9], np.float16),
    "d": np.random.default_rng(0).random((2, 5)),
    "u": np.array([[0, 1, 200, 255]], np.uint8),
    "n": np.array([[1, 3, 1]], np.uint32),
    "i": np.array([[-7, 2, 2], [7, 1, 1]], np.int32),
    "b": np.array([True, False, True]),
    "c": np.array([True, True, False]),
}
# By the result's name: the node, and the result's type and shape.
NODES: dict[str, tuple[onnx.NodeProto, str, list[int]]] = {
    "sign of unsigned": (node("Sign", "u", "_"), "uint8", [1, 4]),
    "sign of floats": (node("Sign", "f", "_"), "float32", [9]),
    "equal bools": (node("Equal", "b c", "_"), "bool", [3]),
    "mean of integers": (node("ReduceMean", "i last", "_", keepdims=0), "int32", [2]),
    "mean of unsigned": (node("ReduceMean", "n last", "_"), "uint32", [1, 1]),
    "bits of floats": (node("BitCast", "f", "_", to=TensorProto.UINT32), "uint32", [9]),
    "bits of halves": (node("BitCast", "h", "_", to=TensorProto.INT16), "int16", [5]),
    "bits of bools": (node("BitCast", "b", "_", to=TensorProto.INT8), "int8", [3]),
    "mish": (node("Mish", "f", "_"), "float32", [9]),
    "log of a sum": (node("ReduceLogSumExp", "rows last", "_"), "float32", [3, 1]),
    "log of all": (node("ReduceLogSumExp", "d", "_", keepdims=0), "float64", []),
    "threshold": (node("ThresholdedRelu", "f", "_", alpha=0.5), "float32", [9]),
    "normalised": (node("LayerNormalization", "d w", "_"), "float64", [2, 5]),
} | {f"{name} of halves": (node(name, "h", "_"), "float16", [5]) for name in ("Asin", "Acos", "Atan", "Asinh", "Atanh")}


def test_types_and_values_that_are_rare(tmp_path: Path) -> None:
    nodes, outputs = [], []
    for name, (made, dtype, shape) in NODES.items():
        made.output[:] = [name]
        nodes.append(made)
        outputs.append(value(name, shape, dtype))
    inputs = {name: (list(array.shape), str(array.dtype)) for name, array in INPUTS.items()}
    proto = model(nodes, inputs, outputs, {"last": np.array([1]), "w": np.ones(5)}, opset=26)
    compile_model(proto, out=tmp_path / "m.so", verify=False)
    with Model(tmp_path / "m.so", threads=1) as loaded, np.errstate(all="ignore"):
        results = loaded.run(INPUTS)
        expected = dict(zip(NODES, ReferenceEvaluator(proto).run(list(NODES), INPUTS), strict=True))
    # log(1 + eˣ) of the reference is 0 below -16
    expected["mish"] = EDGES * np.tanh(np.log1p(np.exp(EDGES.astype(float))))
    expected["mish"][2] = np.nan
    expected["log of a sum"][0] = -np.inf  # of zeros; the reference subtracts infinities
    for name, want in expected.items():
        tolerance = 2e-3 if want.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(results[name], want, rtol=tolerance, atol=1e-7 * tolerance, err_msg=name)
