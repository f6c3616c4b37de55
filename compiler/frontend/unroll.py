"""Writes out the iterations of a Loop, whose values change their shapes on the way or are sequences."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import numpy_helper

from .branches import all_names, inlined
from .graph import all_nodes

_MAX_NODES = 2048  # of all iterations


def unroll_loop(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """The nodes of all iterations, if constants say how many there are, and they are not too many nodes.

    Constants that it needs become initializers of the graph. None if it cannot be unrolled.
    """
    if node.op_type != "Loop" or len(node.input) < 2:
        return None
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    limit, condition = (constants.get(name) for name in node.input[:2])
    if limit is None or (node.input[1] and condition is None):
        return None
    body = next(a.g for a in node.attribute if a.name == "body")
    carried, stacked = list(node.input[2:]), len(body.output) - 1 - len(node.input[2:])
    if len(body.input) != 2 + len(carried) or stacked < 0 or stacked + len(carried) == 0:
        return None
    if any(math.prod(tensor.dims) != 1 for tensor in (limit, condition) if tensor is not None):
        return None
    trips = max(int(numpy_helper.to_array(limit).reshape(())), 0)
    first = condition is None or bool(numpy_helper.to_array(condition).reshape(()))
    if not first:
        trips = 0
    if (trips and not _goes_on(body, constants)) or trips * len(list(all_nodes(body.node))) > _MAX_NODES:
        return None
    used = all_names(graph) | set(node.output)
    elements: list[list[str]] = [[] for _ in range(stacked)]
    if stacked and not trips:
        return None

    def fresh(part: str) -> str:
        name = f"{node.output[0]}/{part}{len(used)}"
        used.add(name)
        return name

    def constant(part: str, value: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(value, fresh(part)))
        return str(graph.initializer[-1].name)

    made: list[onnx.NodeProto] = []
    for number in range(trips):
        given = [constant("number", np.array(number, np.int64)), constant("goes_on", np.array(True)), *carried]
        results = [fresh("result") for _ in body.output]
        made += inlined(graph, body, results, used, dict(zip((v.name for v in body.input), given, strict=True)))
        carried = results[1 : 1 + len(carried)]
        for column, name in zip(elements, results[1 + len(carried) :], strict=True):
            column.append(name)
    axes = constant("axes", np.array([0], np.int64))
    for name, result in zip(carried, node.output, strict=False):
        made += [onnx.helper.make_node("Identity", [name], [result])] if result else []
    for column, result in zip(elements, node.output[len(carried) :], strict=False):
        lifted = [fresh("element") for _ in column]
        made += [onnx.helper.make_node("Unsqueeze", [a, axes], [b]) for a, b in zip(column, lifted, strict=True)]
        made += [onnx.helper.make_node("Concat", lifted, [result], axis=0)] if result else []
    return made


def _goes_on(body: onnx.GraphProto, outside: dict[str, onnx.TensorProto]) -> bool:
    """Whether the condition that a body returns is true whenever the one that it gets is."""
    producers = {name: node for node in body.node for name in node.output}
    known = outside | {tensor.name: tensor for tensor in body.initializer}
    name = body.output[0].name
    while name in producers and producers[name].op_type == "Identity":
        name = producers[name].input[0]
    if name == body.input[1].name:
        return True
    tensor = known.get(name)
    if tensor is None and name in producers and producers[name].op_type == "Constant":
        tensor = next((a.t for a in producers[name].attribute if a.name == "value"), None)
    return tensor is not None and bool(numpy_helper.to_array(tensor).all())
