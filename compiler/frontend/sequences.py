"""Sequences and optionals of known contents become plain values: devices know tensors only.

Exporters write them for lists in a program, whose length is known with the shapes: `split`, `unbind`, `stack`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .branches import all_names, inlined
from .graph import attributes_of, replace_nodes
from .shapes import Types, value_table


def split_outputs(model: onnx.ModelProto) -> bool:
    """Puts tensors NAME_0, NAME_1, … into the place of each output NAME that is a sequence of known length.

    Such a sequence is made of its elements at once, by SequenceConstruct. Nodes may be in any order.

    Returns:
        Whether the model had any.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output if not node.domain}
    outputs: list[onnx.ValueInfoProto] = []
    for value in graph.output:
        maker = makers.get(value.name)
        if not value.type.HasField("sequence_type") or maker is None or maker.op_type != "SequenceConstruct":
            outputs.append(value)
            continue
        elem_type = value.type.sequence_type.elem_type.tensor_type.elem_type
        for number, element in enumerate(maker.input):
            name = f"{value.name}_{number}"
            graph.node.append(onnx.helper.make_node("Identity", [element], [name]))
            outputs.append(onnx.helper.make_tensor_value_info(name, elem_type, None))
    if len(outputs) == len(graph.output) and all(a is b for a, b in zip(outputs, graph.output, strict=True)):
        return False
    read = {name for node in graph.node for name in node.input} | {value.name for value in outputs}
    unread = [n for n in graph.node if n.op_type == "SequenceConstruct" and not n.domain and n.output[0] not in read]
    for node in unread:
        graph.node.remove(node)
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in outputs]
    del graph.output[:]
    graph.output.extend(kept)
    return True


def eliminate_sequences(model: onnx.ModelProto) -> bool:
    """Replaces what reads known sequences, in a model of operator set 13 or newer; returns whether anything changed.

    The nodes that make them stay, without a reader.
    """
    if not any(node.op_type in _RULES and not node.domain for node in model.graph.node):
        return False
    return _Lists(model.graph).run()


class _Lists:
    """Walks a graph in execution order.

    Attributes:
        known: the elements of sequences, by name.
        empty: optionals without an element.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.types: Types = value_table(graph)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.known: dict[str, list[str]] = {}
        self.empty: set[str] = set()
        self.used = all_names(graph)

    def run(self) -> bool:
        nodes: list[onnx.NodeProto] = []
        changed = False
        for node in self.graph.node:
            rule = _RULES.get(node.op_type) if not node.domain else None
            made = rule(self, node, attributes_of(node)) if rule else None
            changed = changed or made is not None
            nodes += [node] if made is None else made
            for one in [node] if made is None else made:
                self._learn(one)
        if changed:
            replace_nodes(self.graph, nodes)
        return changed

    def _learn(self, node: onnx.NodeProto) -> None:
        """Notes the elements of the sequence that a node makes, if they are known."""
        source = self.known.get(node.input[0]) if node.input else None
        position = self.integer(node.input[-1]) if node.input else None
        made: list[str] | None = None
        if node.domain:
            return
        if node.op_type == "SequenceEmpty":
            made = []
        elif node.op_type == "SequenceConstruct":
            made = list(node.input)
        elif node.op_type == "Identity":
            made = source
        elif node.op_type == "SequenceInsert" and source is not None:
            if len(node.input) < 3 or not node.input[2]:
                position = len(source)
            made = None if position is None else [*source[:position], node.input[1], *source[position:]]
        elif node.op_type == "SequenceErase" and source:
            if len(node.input) < 2 or not node.input[1]:
                position = len(source) - 1
            if position is not None and -len(source) <= position < len(source):
                made = [name for i, name in enumerate(source) if i != position % len(source)]
        elif node.op_type == "Optional" and not any(node.input):
            self.empty.add(node.output[0])
        if made is not None:
            self.known[node.output[0]] = made

    def integer(self, name: str) -> int | None:
        """A constant's value, of one element."""
        tensor = self.constants.get(name)
        if tensor is None or np.prod(tensor.dims, dtype=int) != 1 or tensor.data_type == TensorProto.STRING:
            return None
        return int(numpy_helper.to_array(tensor).reshape(()))

    def constant(self, name: str, value: Any) -> str:
        tensor = numpy_helper.from_array(np.asarray(value), name)
        self.graph.initializer.append(tensor)
        self.constants[name] = self.graph.initializer[-1]
        return name

    def name(self, node: onnx.NodeProto, part: str) -> str:
        """A name that nothing has yet."""
        for number in itertools.count():
            name = f"{node.output[0]}/{part}{number}"
            if name not in self.used:
                self.used.add(name)
                return name
        raise AssertionError

    def lifted(
        self, node: onnx.NodeProto, elements: Sequence[str], axis: int
    ) -> tuple[list[onnx.NodeProto], list[str]]:
        """The elements with a new axis."""
        axes = self.constant(self.name(node, "axes"), np.array([axis]))
        names = [self.name(node, "lifted") for _ in elements]
        pairs = zip(elements, names, strict=True)
        return [onnx.helper.make_node("Unsqueeze", [old, axes], [new]) for old, new in pairs], names


Made = list[onnx.NodeProto] | None
Attributes = dict[str, Any]


def _at(lists: _Lists, node: onnx.NodeProto, _given: Attributes) -> Made:
    elements, position = lists.known.get(node.input[0]), lists.integer(node.input[1])
    if not elements:
        return None
    if position is not None:
        if not -len(elements) <= position < len(elements):
            return None
        return [onnx.helper.make_node("Identity", [elements[position]], node.output)]
    types = {lists.types.get(name, (0, None)) for name in elements}
    if len(types) > 1 or None in next(iter(types)):
        return None
    nodes, names = lists.lifted(node, elements, 0)
    stacked = lists.name(node, "stacked")
    nodes.append(onnx.helper.make_node("Concat", names, [stacked], axis=0))
    return [*nodes, onnx.helper.make_node("Gather", [stacked, node.input[1]], node.output, axis=0)]


def _length(lists: _Lists, node: onnx.NodeProto, _given: Attributes) -> Made:
    elements = lists.known.get(node.input[0])
    if elements is None:
        return None
    lists.constant(node.output[0], np.int64(len(elements)))
    return []


def _concat(lists: _Lists, node: onnx.NodeProto, given: Attributes) -> Made:
    elements = lists.known.get(node.input[0])
    if not elements:
        return None
    nodes: list[onnx.NodeProto] = []
    if given.get("new_axis", 0):
        nodes, elements = lists.lifted(node, elements, given["axis"])
    return [*nodes, onnx.helper.make_node("Concat", elements, node.output, name=node.name, axis=given["axis"])]


def _split(lists: _Lists, node: onnx.NodeProto, given: Attributes) -> Made:
    shape = lists.types.get(node.input[0], (0, None))[1]
    stated = node.input[1] if len(node.input) > 1 else ""
    if not shape or (stated and stated not in lists.constants):
        return None
    axis = given.get("axis", 0)
    size = shape[axis]
    sizes = [1] * size
    if stated:
        value = numpy_helper.to_array(lists.constants[stated])
        step = int(value) if value.ndim == 0 else 0
        sizes = [min(step, size - i) for i in range(0, size, step)] if step > 0 else [int(s) for s in value.reshape(-1)]
    if not sizes:
        return [onnx.helper.make_node("SequenceEmpty", [], node.output)]
    names = [lists.name(node, "part") for _ in sizes]
    split = lists.constant(lists.name(node, "sizes"), np.array(sizes, np.int64))
    nodes = [onnx.helper.make_node("Split", [node.input[0], split], names, name=node.name, axis=axis)]
    if not stated and not given.get("keepdims", 1):
        axes = lists.constant(lists.name(node, "axes"), np.array([axis]))
        parts, names = names, [lists.name(node, "element") for _ in names]
        nodes += [onnx.helper.make_node("Squeeze", [a, axes], [b]) for a, b in zip(parts, names, strict=True)]
    return [*nodes, onnx.helper.make_node("SequenceConstruct", names, node.output)]


def _map(lists: _Lists, node: onnx.NodeProto, given: Attributes) -> Made:
    body: onnx.GraphProto = given["body"]
    first = lists.known.get(node.input[0])
    others = [lists.known.get(name) for name in node.input]
    if first is None or any(other is not None and len(other) != len(first) for other in others):
        return None
    nodes, results = [], []
    for number in range(len(first)):
        given_names = [e[number] if e is not None else name for e, name in zip(others, node.input, strict=True)]
        results.append([lists.name(node, "mapped") for _ in node.output])
        formal = {value.name: name for value, name in zip(body.input, given_names, strict=True)}
        nodes += inlined(lists.graph, body, results[-1], lists.used, formal)
    for slot, name in enumerate(node.output):
        elements = [names[slot] for names in results]
        nodes.append(onnx.helper.make_node("SequenceConstruct" if elements else "SequenceEmpty", elements, [name]))
    return nodes


def _optional(lists: _Lists, node: onnx.NodeProto, _given: Attributes) -> Made:
    return [onnx.helper.make_node("Identity", node.input, node.output)] if any(node.input) else None


def _has_element(lists: _Lists, node: onnx.NodeProto, _given: Attributes) -> Made:
    name = node.input[0] if node.input else ""
    present = name in lists.known or bool(lists.types.get(name, (0, None))[0])
    if name and name not in lists.empty and not present:
        return None
    lists.constant(node.output[0], np.bool_(present))
    return []


_RULES: dict[str, Any] = {
    "ConcatFromSequence": _concat,
    "Optional": _optional,
    "OptionalGetElement": _optional,
    "OptionalHasElement": _has_element,
    "SequenceAt": _at,
    "SequenceLength": _length,
    "SequenceMap": _map,
    "SplitToSequence": _split,
}
