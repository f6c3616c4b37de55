"""Tiny ONNX models for tests: `model([node("Relu", "x", "y")], {"x": [2, 3]}, ["y"])`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = Sequence[int | str | None] | None


def node(operator: str, inputs: str, outputs: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    """A node; names are separated by spaces, `_` leaves an optional one out."""
    names = [["" if name == "_" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(operator, *names, domain=domain, **attributes)


def value(name: str, shape: Shape, dtype: str = "float32") -> onnx.ValueInfoProto:
    """A tensor value; None instead of a shape is unknown rank."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    outputs: Sequence[str | onnx.ValueInfoProto],
    constants: Mapping[str, Any] | None = None,
) -> onnx.GraphProto:
    """A graph; an input is a shape of float32, or a pair of shape and dtype."""
    ins = [value(k, *v) if isinstance(v, tuple) else value(k, v) for k, v in inputs.items()]
    outs = [o if isinstance(o, onnx.ValueInfoProto) else value(o, None) for o in outputs]
    tensors = [numpy_helper.from_array(np.asarray(a), k) for k, a in (constants or {}).items()]
    return helper.make_graph(list(nodes), "tiny", ins, outs, tensors)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    outputs: Sequence[str | onnx.ValueInfoProto],
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model; outputs given by name alone get the types and shapes that onnx infers."""
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(
        graph(nodes, inputs, outputs, constants),
        opset_imports=imports,
        functions=list(functions),
        ir_version=8,
    )
    if all(isinstance(given, onnx.ValueInfoProto) for given in outputs):
        return made
    known = {v.name: v.type for v in made.graph.input}
    known |= {t.name: helper.make_tensor_type_proto(t.data_type, t.dims) for t in made.graph.initializer}
    wanted = [given for given in outputs if isinstance(given, str)]
    bare = onnx.ModelProto()
    bare.CopyFrom(made)
    del bare.graph.output[:]
    bare.graph.output.extend(onnx.ValueInfoProto(name=name) for name in {*wanted} - known.keys())
    with contextlib.suppress(Exception):  # a model may be wrong on purpose
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True)
        known |= {v.name: v.type for v in inferred.graph.output if v.HasField("type")}
    for output in made.graph.output:
        if output.name in wanted and output.name in known:
            output.type.CopyFrom(known[output.name])
    return made


def mlp(seed: int = 0) -> onnx.ModelProto:
    """Two dense layers, input `x` [2, 8], output `y` [2, 4]."""
    rng = np.random.default_rng(seed)
    weights = {
        "w0": rng.standard_normal((8, 16), np.float32),
        "b0": rng.standard_normal(16, np.float32),
        "w1": rng.standard_normal((16, 4), np.float32),
    }
    nodes = [node("Gemm", "x w0 b0", "h"), node("Relu", "h", "r"), node("MatMul", "r w1", "y")]
    return model(nodes, {"x": [2, 8]}, ["y"], weights)


def random_inputs(proto: onnx.ModelProto, seed: int = 0) -> dict[str, Any]:
    """An array for each input of static shape, by name; initializers are no inputs."""
    rng = np.random.default_rng(seed)
    initializers = {t.name for t in proto.graph.initializer}
    arrays: dict[str, Any] = {}
    for v in proto.graph.input:
        if v.name not in initializers:
            shape = [d.dim_value for d in v.type.tensor_type.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)
            arrays[v.name] = np.asarray(rng.standard_normal(shape) * 3).astype(dtype)
    return arrays
