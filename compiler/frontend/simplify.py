"""Simplifies a graph of known shapes: what is constant is computed, dead and identity nodes are removed.

What is folded here becomes an initializer, so axes, shapes, pads and the like that the graph computed
are plain constants when the converters look at them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .branches import rename_values, take_constant_branches
from .fold import fold_constants
from .forms import pad_unpooled
from .graph import node_inputs, replace_nodes
from .groups import spell_group_normalizations
from .lengths import Lengths, lengths_of
from .shapes import Types, value_table


def simplify(model: onnx.ModelProto) -> bool:
    """One round over a model whose shapes are inferred; returns whether anything changed."""
    graph = model.graph
    types = value_table(graph)
    changes = pad_unpooled(graph, types)
    changes += _fold_shapes(graph, types, lengths_of(graph, types).lengths)
    changes += spell_group_normalizations(graph, types)
    changes += _drop_empty(graph, types)
    changes += _drop_identities(graph, types)
    changes += fold_constants(model, types)
    changes += take_constant_branches(graph)
    changes += drop_dead(graph)
    return changes > 0


def _shape_of(types: Types, name: str) -> tuple[int, ...] | None:
    return types.get(name, (0, None))[1]


def _fold_shapes(graph: onnx.GraphProto, types: Types, lengths: Mapping[str, Lengths]) -> int:
    """Shape and Size of values with known shapes; results without elements, and sums of none, become constants."""
    kept = []
    for node in graph.node:
        shape = _shape_of(types, node.input[0]) if node.input else None
        asks = not node.domain and node.op_type in ("Shape", "Size")
        if asks and shape is not None and not lengths.get(node.input[0]):
            attributes = {a.name: a.i for a in node.attribute}
            if node.op_type == "Size":
                value = np.asarray(math.prod(shape), np.int64)
            else:
                value = np.asarray(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], np.int64)
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        elif _is_empty(node, types):
            for name in filter(None, node.output):
                elem_type, empty = types[name]
                graph.initializer.append(onnx.helper.make_tensor(name, elem_type, empty or (0,), b"", raw=True))
        elif _is_empty_sum(node, types):
            elem_type, made = types[node.output[0]]
            zeros = np.zeros(made or (), onnx.helper.tensor_dtype_to_np_dtype(elem_type))
            graph.initializer.append(numpy_helper.from_array(zeros, node.output[0]))
        else:
            kept.append(node)
    return _keep(graph, kept)


def _is_empty(node: onnx.NodeProto, types: Types) -> bool:
    made = [types.get(name, (0, None)) for name in node.output if name]
    return bool(made) and all(t not in (0, TensorProto.STRING) and 0 in (shape or ()) for t, shape in made)


def _is_empty_sum(node: onnx.NodeProto, types: Types) -> bool:
    """TVM makes a program that leaves the result as it was."""
    empty = any(0 in (_shape_of(types, name) or ()) for name in node.input)
    return not node.domain and node.op_type == "Einsum" and empty and _shape_of(types, node.output[0]) is not None


def _drop_empty(graph: onnx.GraphProto, types: Types) -> int:
    """Values without elements, where they add nothing: parts of a Concat or Split, updates of a Scatter."""
    changed = 0
    for node in graph.node:
        if node.domain:
            continue
        if node.op_type == "Split":
            changed += _drop_empty_parts(graph, node, types)
            continue
        empty = [0 in (_shape_of(types, name) or ()) for name in node.input]
        if node.op_type == "Concat" and any(empty) and not all(empty):
            node.input[:] = [name for name, gone in zip(node.input, empty, strict=True) if not gone]
        elif node.op_type in ("ScatterElements", "ScatterND") and len(empty) == 3 and empty[2]:
            del node.input[1:]
        else:
            continue
        if len(node.input) == 1:
            node.op_type = "Identity"
            del node.attribute[:]
        changed += 1
    return changed


def _drop_empty_parts(graph: onnx.GraphProto, node: onnx.NodeProto, types: Types) -> bool:
    """Lets a Split make only the parts that have elements; the others become constants."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    shapes = [_shape_of(types, name) for name in node.output]
    if any(shape is None for shape in shapes) or all(shape and shape[axis] for shape in shapes):
        return False
    kept, sizes = [], []
    for name, shape in zip(node.output, shapes, strict=True):
        assert shape is not None
        if shape[axis]:
            kept.append(name)
            sizes.append(shape[axis])
        else:
            graph.initializer.append(onnx.helper.make_tensor(name, types[name][0], shape, b"", raw=True))
    del node.attribute[:]
    if len(kept) == 1:
        node.op_type = "Identity"
        del node.input[1:]
    else:
        split = f"{node.output[0]}/sizes"
        graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), split))
        node.input[:] = [node.input[0], split]
        node.attribute.append(onnx.helper.make_attribute("axis", axis))
    node.output[:] = kept
    return True


def _drop_identities(graph: onnx.GraphProto, types: Types) -> int:
    """Identity, Dropout without training, and casts to the type that a value has already."""
    outputs = {v.name for v in graph.output}
    constants = {t.name: t for t in graph.initializer}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        rename_values(node, renamed)
        identity = not node.domain and (
            node.op_type == "Identity"
            or (node.op_type == "Dropout" and not any(node.output[1:]) and not _trains(node, constants))
            or (node.op_type == "Cast" and types.get(node.input[0], (0,))[0] == _cast_target(node))
        )
        if identity and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    return _keep(graph, kept)


def _trains(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> bool:
    mode = node.input[2] if len(node.input) > 2 else ""
    return bool(mode) and (mode not in constants or bool(numpy_helper.to_array(constants[mode]).any()))


def _cast_target(node: onnx.NodeProto) -> int:
    return next((int(a.i) for a in node.attribute if a.name == "to"), -1)


def drop_dead(graph: onnx.GraphProto) -> int:
    """Removes nodes and initializers that no output needs; returns how many nodes."""
    needed = {v.name for v in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(filter(None, node.output)):
            kept.append(node)
            needed.update(node_inputs(node))
    dropped = _keep(graph, kept[::-1])
    initializers = [t for t in graph.initializer if t.name in needed]
    if len(initializers) < len(graph.initializer):
        copies = [onnx.TensorProto.FromString(t.SerializeToString()) for t in initializers]
        del graph.initializer[:]
        graph.initializer.extend(copies)
    return dropped


def _keep(graph: onnx.GraphProto, kept: list[onnx.NodeProto]) -> int:
    gone = len(graph.node) - len(kept)
    if gone:
        replace_nodes(graph, kept)
    return gone
