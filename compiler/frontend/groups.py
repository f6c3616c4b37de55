"""Spells GroupNormalization out as exporters did before there was one: instance normalisation of channels taken as one.

onnx infers no shape for it. passes/group_norms.py makes one operator of both forms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .graph import attributes_of, replace_nodes
from .shapes import Types


def spell_group_normalizations(graph: onnx.GraphProto, types: Types) -> int:
    """Rewrites those of known shapes; returns how many."""
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in graph.node:
        made = _spelled(node, graph, types) if node.op_type == "GroupNormalization" and not node.domain else None
        nodes += made or [node]
        count += made is not None
    if count:
        replace_nodes(graph, nodes)
    return count


def _spelled(node: onnx.NodeProto, graph: onnx.GraphProto, types: Types) -> list[onnx.NodeProto] | None:
    (elem_type, shape), (_, weights) = (types.get(name, (0, None)) for name in node.input[:2])
    attributes = attributes_of(node)
    groups = attributes.get("num_groups", 0)
    if shape is None or weights is None or len(shape) < 2 or 0 in shape or groups < 1 or shape[1] % groups:
        return None
    data, scale, bias = node.input
    result = node.output[0]
    made: list[onnx.NodeProto] = []

    def constant(part: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{result}_{part}"))
        return f"{result}_{part}"

    def add(operator: str, inputs: list[str], part: str, **more: Any) -> str:
        output = f"{result}_{part}" if part else result
        made.append(helper.make_node(operator, inputs, [output], name=f"{node.name}_{part or operator}", **more))
        return output

    epsilon = attributes.get("epsilon", 1e-5)
    size = shape[1] // groups * math.prod(shape[2:])
    rows = add("Reshape", [data, constant("rows_shape", np.array([shape[0], groups, size]))], "rows")
    back = constant("shape", np.array(shape))
    if tuple(weights) == (groups,):  # operator sets 18 to 20: a number for each group
        normalised = add("InstanceNormalization", [rows, scale, bias], "normalised", epsilon=epsilon)
        add("Reshape", [normalised, back], "")
        return made
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    plain = [constant("ones", np.ones(groups, dtype)), constant("zeros", np.zeros(groups, dtype))]
    normalised = add("InstanceNormalization", [rows, *plain], "normalised", epsilon=epsilon)
    whole = add("Reshape", [normalised, back], "whole")
    column = constant("column", np.array([shape[1], *[1] * (len(shape) - 2)]))
    scaled = add("Mul", [whole, add("Reshape", [scale, column], "scale")], "scaled")
    add("Add", [scaled, add("Reshape", [bias, column], "bias")], "")
    return made
