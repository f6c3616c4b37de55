"""What a model consists of, and what stands in the way of compiling it."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import onnx
from onnx import TensorProto

from ..errors import UserError
from ..frontend.check import opset_of
from ..frontend.convert import dtype_name
from ..frontend.forest_nodes import count_trees
from ..frontend.graph import all_nodes
from ..frontend.prepare import Model, PreparedModel, Tensor, load_model, prepare
from ..frontend.rows import blocks_of, check_rows, open_shape, rows_shapes
from ..frontend.shapes import Sizes, each_shape, parse_shapes, suggest_shapes
from ..frontend.support import find_obstacles, operator_name, support_of
from ..quantize.sparsity import measure
from ..target import Target
from .estimate import estimate
from .ways_out import way_out

_LENGTHS = (128, 512)  # of sequences, to try


def summarize_model(
    source: str | os.PathLike[str] | onnx.ModelProto,
    shapes: Mapping[str, Sizes] | None = None,
    target: Target | None = None,
) -> dict[str, Any]:
    """A JSON-ready description of an ONNX model.

    Keys: name, opset, ir_version, inputs, outputs, nodes, operators (counts, and by what each is supported),
    parameters, quantised (how), floats (products of a quantised model that are not computed with integers, and why),
    sparsity (of weights, by layer; None without any), control_flow (nodes with bodies), data_sized (outputs whose size
    depends on the data), dynamic (what `--shape` has to fix, and one that would), obstacles (by node, each with its
    reason and a way out), estimate (of one inference on the target; None if there are obstacles). Dynamic dimensions
    that `shapes` leaves open get the suggested sizes for the last two. Of classical models also forest (trees and
    nodes; None without), rows (how many the estimate is for, if the model takes any number of them, else None) and
    strings (how many different ones it has; None if none come in or go out).
    """
    model = load_model(source)
    graph = model.proto.graph
    initializers = {t.name for t in graph.initializer}
    dynamic, obstacles, prepared = None, [], None
    rows, axes = (None, {}) if shapes else _any_rows(model)
    try:
        prepared = rows or prepare(model, each_shape(model.proto, shapes or {}, model.name)[-1])
        obstacles = list(prepared.obstacles)
    except UserError as error:
        if shapes or "dynamic dimensions" not in error.what:
            raise
        obstacles = find_obstacles(graph)
        for length in _LENGTHS:
            suggested = suggest_shapes(model.proto, length)
            dynamic = {"what": error.what, "fix": error.fix, "suggested": suggested}
            with contextlib.suppress(UserError):  # the sizes are guesses
                guessed = prepare(model, each_shape(model.proto, parse_shapes(suggested), model.name)[0])
                if not guessed.obstacles:
                    prepared, obstacles = guessed, []
                    break
    outputs = [_value(v) for v in graph.output]
    if rows:
        count = rows.inputs[0].shape[0]
        outputs = [_tensor(t, open_shape(t.shape, axes[t.name], count)) for t in rows.outputs]
    texts = [v["dtype"] == "string" for v in (*map(_value, graph.input), *outputs)]
    nodes = list(all_nodes(graph.node))
    versions = {entry.domain: entry.version for entry in model.proto.opset_import}
    counts = Counter(operator_name(node) for node in nodes)
    support = {operator_name(node): support_of(node, versions) for node in nodes}
    return {
        "name": model.name,
        "sha256": model.sha256,
        "producer": f"{model.proto.producer_name} {model.proto.producer_version}".strip(),
        "opset": opset_of(model.proto),
        "ir_version": model.proto.ir_version,
        "inputs": [_value(v) for v in graph.input if v.name not in initializers],
        "outputs": outputs,
        "rows": rows.inputs[0].shape[0] if rows else None,
        "strings": len(prepared.vocabulary) if prepared and any(texts) else None,
        "forest": count_trees(graph),
        "nodes": len(nodes),
        "operators": [
            {"operator": name, "count": count, "support": support[name]} for name, count in sorted(counts.items())
        ],
        "parameters": sum(math.prod(t.dims) for t in graph.initializer),
        "quantised": _quantised(counts, graph),
        "floats": [asdict(product) for product in prepared.float_products] if prepared else [],
        "sparsity": measure(graph),
        "control_flow": sum(counts[name] for name in ("If", "Loop", "Scan")),
        "data_sized": [t.name for t in prepared.outputs if t.sizes] if prepared else [],
        "dynamic": dynamic,
        "obstacles": [
            {"node": o.node, "operator": o.operator, "reason": o.reason, "way_out": way_out(o)} for o in obstacles
        ],
        "estimate": estimate(prepared, target, model.name) if prepared and target and not obstacles else None,
    }


def _any_rows(model: Model) -> tuple[PreparedModel | None, dict[str, int]]:
    """The model for the largest block of rows, and their axis in each output; None if it does not take any number of
    them, or something stands in the way."""
    shapes = rows_shapes(model.proto)
    with contextlib.suppress(UserError):
        if shapes is not None:
            prepared = prepare(model, blocks_of(model.proto, shapes)[-1])
            if not prepared.obstacles:
                return prepared, check_rows(prepared.proto, shapes, model.name)
    return None, {}


def _quantised(counts: Mapping[str, int], graph: onnx.GraphProto) -> dict[str, Any] | None:
    """In which form, and how many bytes of weights are 8-bit; None of a float model."""
    forms = [form for form, names in _QUANTISED.items() if any(counts.get(name) for name in names)]
    if not forms:
        return None
    small = (TensorProto.INT8, TensorProto.UINT8)
    return {"forms": forms, "int8_weights": sum(math.prod(t.dims) for t in graph.initializer if t.data_type in small)}


_QUANTISED = {
    "QDQ": ("QuantizeLinear", "DequantizeLinear"),
    "QLinear": ("QLinearConv", "QLinearMatMul", "com.microsoft.QLinearAdd"),
    "dynamic": (
        *("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"),
        *("com.microsoft.DynamicQuantizeMatMul", "com.microsoft.DynamicQuantizeLSTM"),
    ),
    "weight-only": ("com.microsoft.MatMulNBits",),
}


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    dtype = dtype_name(tensor.elem_type) if tensor.elem_type else "unknown"
    if tensor.elem_type == TensorProto.STRING:
        dtype = "string"
    return {"name": value.name, "dtype": dtype, "shape": shape if tensor.HasField("shape") else None}


def _tensor(tensor: Tensor, shape: list[int | str]) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": "string" if tensor.strings else tensor.dtype, "shape": shape}
