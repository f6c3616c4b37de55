"""Many small cases in one model, so that one compilation covers hundreds of kernels.

A case is a graph of its own; the cases of a family are put side by side into one model with many inputs and
outputs, compiled once a target, run once, and compared one by one with a reference.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compiler.pipeline import Artifact, compile_model
from compiler.target import load_target
from compiler.verify.execute import execute
from compiler.verify.reference import run_reference
from tests.executors import executor_or_skip

Array = np.ndarray[Any, Any]
OPSET = 21
DOMAINS = {"ai.onnx.ml": 3, "com.microsoft": 1}

# Largest distance over the largest value of the reference. Sums of up to a few thousand terms are compared,
# in another order than the reference's.
TOLERANCE = {"float64": 1e-7, "float32": 2e-5, "float16": 4e-3}


@dataclass(frozen=True)
class Case:
    """A graph with values for its inputs.

    Attributes:
        name: unique in its family.
        nodes: their values are local to the case; `y`, or what `outputs` says, are the results.
        inputs: arrays that the artifact gets when it runs.
        constants: initializers.
        expected: the results, where no reference can be asked; None to ask.
        tolerance: overrides TOLERANCE.
    """

    name: str
    nodes: Sequence[onnx.NodeProto]
    inputs: Mapping[str, Array]
    constants: Mapping[str, Array] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("y",)
    expected: tuple[Array, ...] | None = None
    tolerance: float | None = None


def rng_of(name: str) -> np.random.Generator:
    """Random numbers that depend on a name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def floats(name: str, *shape: int, dtype: str = "float32") -> Array:
    """Standard normal values."""
    return np.asarray(rng_of(name).standard_normal(shape), dtype)


def one(
    op: str,
    name: str,
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array] | None = None,
    order: Sequence[str] | None = None,
    outputs: tuple[str, ...] = ("y",),
    expected: tuple[Array, ...] | None = None,
    tolerance: float | None = None,
    **attributes: Any,
) -> Case:
    """A case of one operator; it takes the inputs, then the constants, unless `order` says otherwise."""
    names = list(order) if order is not None else [*inputs, *(constants or {})]
    node = helper.make_node(op, names, list(outputs), name=op, **attributes)
    return Case(name, [node], inputs, constants or {}, outputs, expected, tolerance)


def reference(case: Case) -> tuple[Array, ...]:
    """The case's results by onnxruntime, or by onnx's evaluator where that has no kernel."""
    if case.expected is not None:
        return case.expected
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in case.outputs]
    graph = helper.make_graph(list(case.nodes), "case", _inputs(case, ""), outputs, _initializers(case, ""))
    proto = _model(graph)
    inferred = onnx.shape_inference.infer_shapes(proto)
    types = {v.name: v for v in [*inferred.graph.value_info, *inferred.graph.output]}
    for output in proto.graph.output:
        output.CopyFrom(types[output.name])
    _name, results = run_reference(proto, case.inputs)
    return tuple(results[name] for name in case.outputs)


def combine(cases: Sequence[Case], expected: Sequence[tuple[Array, ...]]) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """One model of all cases, and its inputs."""
    graph, arrays = onnx.GraphProto(name="grid"), {}
    for number, (case, results) in enumerate(zip(cases, expected, strict=True)):
        prefix = f"c{number}_"
        for node in case.nodes:
            copied = graph.node.add()
            copied.CopyFrom(node)
            copied.input[:] = [prefix + name if name else "" for name in node.input]
            copied.output[:] = [prefix + name if name else "" for name in node.output]
        graph.input.extend(_inputs(case, prefix))
        graph.initializer.extend(_initializers(case, prefix))
        for name, array in zip(case.outputs, results, strict=True):
            dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.output.append(helper.make_tensor_value_info(prefix + name, dtype, array.shape))
        arrays.update({prefix + name: array for name, array in case.inputs.items()})
    return _model(graph), arrays


def build(
    cases: Sequence[Case], target: str, path: Path, precision: str = "fp32"
) -> tuple[Artifact, list[tuple[Array, ...]], dict[str, Array]]:
    """The artifact of all cases, their expected results, and the inputs."""
    expected = [reference(case) for case in cases]
    proto, arrays = combine(cases, expected)
    return compile_model(proto, target, path, verify=False, precision=precision), expected, arrays


def failures(cases: Sequence[Case], target: str, folder: Path, threads: int = 2, precision: str = "fp32") -> list[str]:
    """A line for each case whose results on `target` are not the reference's. Skips where nothing runs them."""
    path, executor = folder / f"{target}.so", executor_or_skip(load_target(target))
    artifact, expected, arrays = build(cases, target, path, precision)
    results = execute(executor, path, arrays, threads)
    lines = [f"{kernel}: {reason}" for kernel, reason in artifact.unscheduled.items()]
    for number, (case, wanted) in enumerate(zip(cases, expected, strict=True)):
        for name, array in zip(case.outputs, wanted, strict=True):
            reason = difference(results[f"c{number}_{name}"], array, case.tolerance)
            if reason:
                lines.append(f"{case.name} {name}: {reason}")
    return lines


def difference(result: Array, expected: Array, tolerance: float | None = None) -> str:
    """What is wrong with a result; empty if nothing is."""
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return f"{result.dtype}{list(result.shape)}, not {expected.dtype}{list(expected.shape)}"
    if not expected.size:
        return ""
    if expected.dtype.kind != "f":
        wrong = int(np.sum(result != expected))
        return f"{wrong} of {expected.size} elements differ" if wrong else ""
    limit = tolerance if tolerance is not None else TOLERANCE[str(expected.dtype)]
    a, b = result.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        return "infinities or NaNs stand elsewhere"
    if not finite.any():
        return ""
    error = float(np.abs(a[finite] - b[finite]).max()) / max(float(np.abs(b[finite]).max()), 1e-6)
    return f"error {error:.1e}, limit {limit:.0e}" if error > limit else ""


def _inputs(case: Case, prefix: str) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(prefix + name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in case.inputs.items()
    ]


def _initializers(case: Case, prefix: str) -> list[TensorProto]:
    return [numpy_helper.from_array(array, prefix + name) for name, array in case.constants.items()]


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(name, v) for name, v in DOMAINS.items())]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)
