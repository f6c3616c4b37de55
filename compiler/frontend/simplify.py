"""Simplifies a graph of known shapes: constants are computed, dead and identity nodes removed.

What is folded here becomes an initializer, so axes, shapes, pads and the like that the graph computed
are plain constants when the converters look at them.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from .check import node_inputs
from .shapes import value_table

# A constant that the graph blows up (Expand, Tile, ConstantOfShape) stays an operation above this size.
MAX_GROWN_BYTES = 1 << 20
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


def constants_to_initializers(graph: onnx.GraphProto) -> int:
    """Turns Constant nodes into initializers and takes initializers out of the inputs; returns how many nodes went."""
    names = {t.name for t in graph.initializer}
    inputs = [v for v in graph.input if v.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)
    kept, made = [], 0
    for node in graph.node:
        tensor = _constant_value(node) if node.op_type == "Constant" and node.domain in ("", "ai.onnx") else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            made += 1
    _replace_nodes(graph, kept)
    return made


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    for attribute in node.attribute:
        if attribute.name == "value":
            return onnx.TensorProto.FromString(attribute.t.SerializeToString())
        dtype = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if attribute.name in dtype:
            return numpy_helper.from_array(np.asarray(onnx.helper.get_attribute_value(attribute), dtype[attribute.name]))
    return None


def simplify(model: onnx.ModelProto) -> int:
    """One round over a model whose shapes are inferred; returns the number of nodes that went."""
    graph = model.graph
    before = len(graph.node)
    types = value_table(graph)
    _fold_shapes(graph, types)
    _drop_identities(graph, types)
    _fold_constants(model, types)
    _drop_dead(graph)
    return before - len(graph.node)


def _fold_shapes(graph: onnx.GraphProto, types: dict[str, tuple[int, tuple[int, ...] | None]]) -> None:
    """Shape and Size of values with known shapes; results without elements become empty constants."""
    kept = []
    outputs = {v.name for v in graph.output}
    for node in graph.node:
        shape = types.get(node.input[0], (0, None))[1] if node.input else None
        if node.domain in ("", "ai.onnx") and node.op_type in ("Shape", "Size") and shape is not None:
            attributes = {a.name: a.i for a in node.attribute}
            if node.op_type == "Size":
                value = np.asarray(math.prod(shape), np.int64)
            else:
                value = np.asarray(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], np.int64)
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        elif _is_empty(node, types) and not outputs.intersection(node.output):
            for name in filter(None, node.output):
                elem_type, empty = types[name]
                graph.initializer.append(onnx.helper.make_tensor(name, elem_type, empty or (0,), b"", raw=True))
        else:
            kept.append(node)
    _replace_nodes(graph, kept)


def _is_empty(node: onnx.NodeProto, types: dict[str, tuple[int, tuple[int, ...] | None]]) -> bool:
    shapes = [types.get(name, (0, None))[1] for name in node.output if name]
    return bool(shapes) and all(shape is not None and 0 in shape for shape in shapes)


def _drop_identities(graph: onnx.GraphProto, types: dict[str, tuple[int, tuple[int, ...] | None]]) -> None:
    """Identity, Dropout without training, and casts to the type that a value has already."""
    outputs = {v.name for v in graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        _rename_inputs(node, renamed)
        identity = node.domain in ("", "ai.onnx") and (
            node.op_type == "Identity"
            or (node.op_type == "Dropout" and len(node.input) < 3 and not any(node.output[1:]))
            or (node.op_type == "Cast" and types.get(node.input[0], (0,))[0] == _cast_target(node))
        )
        if identity and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    _replace_nodes(graph, kept)


def _cast_target(node: onnx.NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "to"), -1)


def _rename_inputs(node: onnx.NodeProto, renamed: dict[str, str]) -> None:
    for index, name in enumerate(node.input):
        if name in renamed:
            node.input[index] = renamed[name]
    for attribute in node.attribute:
        for graph in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
            for inner in graph.node:
                _rename_inputs(inner, renamed)
            for value in graph.output:
                value.name = renamed.get(value.name, value.name)


def _fold_constants(model: onnx.ModelProto, types: dict[str, tuple[int, tuple[int, ...] | None]]) -> None:
    """Evaluates nodes whose inputs are all constant with onnx's reference implementation."""
    graph = model.graph
    values = {t.name: t for t in graph.initializer}
    outputs = {v.name for v in graph.output}
    kept = []
    for node in graph.node:
        inputs = node_inputs(node)
        if (
            node.op_type in _RANDOM
            or not all(name in values for name in inputs)
            or outputs.intersection(node.output)
            or _grows(node, [values[name] for name in inputs], types)
        ):
            kept.append(node)
            continue
        tensors = _evaluate(model, node, [values[name] for name in dict.fromkeys(inputs)])
        if tensors is None:
            kept.append(node)
            continue
        for tensor in tensors:
            values[tensor.name] = tensor
            graph.initializer.append(tensor)
    _replace_nodes(graph, kept)


def _grows(
    node: onnx.NodeProto, inputs: list[onnx.TensorProto], types: dict[str, tuple[int, tuple[int, ...] | None]]
) -> bool:
    taken = sum(math.prod(t.dims) for t in inputs)
    made = 0
    for name in filter(None, node.output):
        shape = types.get(name, (0, None))[1]
        if shape is None:
            return False  # unknown until evaluated: shape arithmetic, small
        made += math.prod(shape)
    return made * 4 > MAX_GROWN_BYTES and made > taken


def _evaluate(
    model: onnx.ModelProto, node: onnx.NodeProto, inputs: list[onnx.TensorProto]
) -> list[onnx.TensorProto] | None:
    names = [name for name in node.output if name]
    graph = onnx.helper.make_graph(
        [node], "fold", [], [onnx.ValueInfoProto(name=name) for name in names], initializer=inputs
    )
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(single).run(None, {})
        return [numpy_helper.from_array(np.asarray(r), name) for r, name in zip(results, names, strict=True)]
    except Exception:  # the reference lacks the operator or the case: the node then simply stays in the graph
        return None


def _drop_dead(graph: onnx.GraphProto) -> None:
    """Removes nodes and initializers that no output needs."""
    needed = {v.name for v in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node_inputs(node))
    _replace_nodes(graph, kept[::-1])
    initializers = [t for t in graph.initializer if t.name in needed]
    if len(initializers) < len(graph.initializer):
        kept_initializers = [onnx.TensorProto.FromString(t.SerializeToString()) for t in initializers]
        del graph.initializer[:]
        graph.initializer.extend(kept_initializers)


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    if len(nodes) == len(graph.node):
        return
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)
