"""What a model consists of, and what stands in the way of compiling it."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx

from ..errors import UserError
from ..frontend.check import opset_of
from ..frontend.convert import dtype_name
from ..frontend.prepare import load_model, prepare
from ..frontend.shapes import Sizes, each_shape
from ..frontend.support import find_obstacles, is_supported, operator_name


def summarize_model(
    source: str | os.PathLike[str] | onnx.ModelProto, shapes: Mapping[str, Sizes] | None = None
) -> dict[str, Any]:
    """A JSON-ready description of an ONNX model.

    Keys: name, opset, ir_version, inputs, outputs, nodes, operators (counts and whether each is converted),
    parameters, weights_bytes, dynamic (what `--shape` has to fix), obstacles (by node, each with its reason).
    Without shapes for its dynamic dimensions a model's obstacles are those that its operators alone show.
    """
    model = load_model(source)
    graph = model.proto.graph
    initializers = {t.name for t in graph.initializer}
    dynamic, obstacles = None, []
    try:
        obstacles = list(prepare(model, each_shape(model.proto, shapes or {}, model.name)[-1]).obstacles)
    except UserError as error:
        if shapes or "dynamic dimensions" not in error.what:
            raise
        dynamic = {"what": error.what, "fix": error.fix}
        obstacles = find_obstacles(graph)
    counts = Counter(operator_name(node) for node in graph.node)
    converted = {operator_name(node): is_supported(node) or node.op_type == "Constant" for node in graph.node}
    return {
        "name": model.name,
        "sha256": model.sha256,
        "producer": f"{model.proto.producer_name} {model.proto.producer_version}".strip(),
        "opset": opset_of(model.proto),
        "ir_version": model.proto.ir_version,
        "inputs": [_value(v) for v in graph.input if v.name not in initializers],
        "outputs": [_value(v) for v in graph.output],
        "nodes": len(graph.node),
        "operators": [
            {"operator": name, "count": count, "converter": converted[name]} for name, count in sorted(counts.items())
        ],
        "parameters": sum(math.prod(t.dims) for t in graph.initializer),
        "dynamic": dynamic,
        "obstacles": [{"node": o.node, "operator": o.operator, "reason": o.reason} for o in obstacles],
    }


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape: list[int | str] = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    dtype = dtype_name(tensor.elem_type) if tensor.elem_type else "unknown"
    return {"name": value.name, "dtype": dtype, "shape": shape}
