"""Turns If, Loop and Scan into nodes of our own, whose bodies are whole graphs: typed, settled, without captures.

The standard's bodies read what they like of the graphs around them, and say little of the types inside. Here a body
gets all that it reads as inputs (constants as initializers of its own), in an order that the node states:

    Branch (condition, captured...)                          then, else: (captured...) -> results
    Repeat ([trips], [condition], carried..., scanned..., captured...)
           body: ([iteration, condition], carried..., elements of scanned..., captured...)
                 -> ([condition], carried..., elements of stacked...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .domains import FLOW
from .graph import attributes_of, describe, node_inputs, replace_nodes
from .shapes import Types, static_shape, value_table
from .unroll import unroll_loop

# Infers and simplifies a body; why nodes with bodies stayed in it, by their first result.
Settle = Callable[[onnx.ModelProto, str], tuple[onnx.ModelProto, dict[str, str]]]
Type = tuple[int, tuple[int, ...] | None]


class FlowError(Exception):
    """Why a node cannot be compiled."""


@dataclass(frozen=True)
class Facts:
    """What a Repeat says beside its inputs and its body.

    Attributes:
        trips: how often it runs at most; -1: an input says so; -2: there is no limit.
        asks: an input says whether it runs at all.
        measures: its last result is how often it ran, an int64.
        counts: the body gets the iteration's number and the condition, and returns whether to go on.
        carried: how many values go from one iteration to the next.
        scanned: of each input that the iterations get an element of: whether from its end.
        stacked: of each result that the iterations make an element of: whether from its end.
    """

    trips: int
    asks: bool
    measures: bool
    counts: bool
    carried: int
    scanned: tuple[bool, ...]
    stacked: tuple[bool, ...]

    @classmethod
    def of(cls, node: onnx.NodeProto) -> Facts:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.type != a.GRAPH}
        scanned, stacked = (tuple(map(bool, given.get(name, ()))) for name in ("scanned", "stacked"))
        asks, measures, counts = (bool(given[name]) for name in ("asks", "measures", "counts"))
        return cls(int(given["trips"]), asks, measures, counts, int(given["carried"]), scanned, stacked)

    def attributes(self) -> dict[str, int | list[int]]:
        flags = {name: int(getattr(self, name)) for name in ("trips", "asks", "measures", "counts", "carried")}
        ways = {name: [int(w) for w in getattr(self, name)] for name in ("scanned", "stacked")}
        return flags | {name: way for name, way in ways.items() if way}


def lower_control_flow(model: onnx.ModelProto, settle: Settle, where: str) -> tuple[bool, dict[str, str]]:
    """Replaces each If, Loop and Scan of a settled graph whose types allow it.

    Returns:
        Whether anything changed, and why some stay, by the node's first result.
    """
    graph, types = model.graph, value_table(model.graph)
    lowering = _Lowering(model, types, settle)
    nodes: list[onnx.NodeProto] = []
    reasons: dict[str, str] = {}
    for node in graph.node:
        rule = _RULES.get(node.op_type) if not node.domain else None
        if rule is None:
            nodes.append(node)
            continue
        try:
            nodes += rule(lowering, node, f"{where}: {describe(node)}")
        except FlowError as error:
            reasons[node.output[0]] = str(error)
            nodes.append(node)
    if not lowering.changed:  # else shapes may become known that these lack
        nodes = [made for node in nodes for made in _unrolled(lowering, node, reasons)]
    if lowering.changed:
        replace_nodes(graph, nodes)
    return lowering.changed, reasons


def _unrolled(lowering: _Lowering, node: onnx.NodeProto, reasons: dict[str, str]) -> list[onnx.NodeProto]:
    made = unroll_loop(lowering.model, node) if node.output and node.output[0] in reasons else None
    if made is None:
        return [node]
    lowering.changed = True
    del reasons[node.output[0]]
    return made


def body_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The bodies of a node of ours: `then` and `else`, or one."""
    return [a.g for a in node.attribute if a.type == a.GRAPH]


class _Lowering:
    def __init__(self, model: onnx.ModelProto, types: Types, settle: Settle) -> None:
        self.model, self.types, self.settle = model, types, settle
        self.values = {t.name: t for t in model.graph.initializer}
        self.changed = False

    def type(self, name: str) -> tuple[int, tuple[int, ...]]:
        elem_type, shape = self.types.get(name, (0, None))
        if not elem_type or shape is None:
            raise FlowError(f"the shape of {name!r}, which it reads, depends on the data")
        return elem_type, shape

    def constant(self, name: str) -> np.ndarray | None:
        return numpy_helper.to_array(self.values[name]).reshape(-1) if name in self.values else None

    def body(
        self, graph: onnx.GraphProto, formal: Sequence[Type], captured: Sequence[str], where: str
    ) -> onnx.ModelProto:
        """A body as a model: inputs of these types, then what it captures."""
        inner = onnx.ModelProto(ir_version=self.model.ir_version)
        inner.opset_import.extend(self.model.opset_import)
        inner.graph.CopyFrom(graph)
        del inner.graph.input[:], inner.graph.value_info[:]
        if len(formal) != len(graph.input):
            raise FlowError(f"its body has {len(graph.input)} inputs, and gets {len(formal)}")
        for value, (elem_type, shape) in zip(graph.input, formal, strict=True):
            inner.graph.input.append(onnx.helper.make_tensor_value_info(value.name, elem_type, shape))
        for name in captured:
            if name in self.values:
                inner.graph.initializer.append(self.values[name])
            else:
                inner.graph.input.append(onnx.helper.make_tensor_value_info(name, *self.type(name)))
        for output in inner.graph.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
        settled, reasons = self.settle(inner, where)
        for node in settled.graph.node:
            if node.output[0] in reasons:
                raise FlowError(f"{describe(node)} inside of it: {reasons[node.output[0]]}")
        return settled

    def node(
        self,
        kind: str,
        old: onnx.NodeProto,
        inputs: Sequence[str],
        bodies: dict[str, onnx.ModelProto],
        **attributes: Any,
    ) -> onnx.NodeProto:
        """A node of ours in the place of another one."""
        made = onnx.helper.make_node(kind, inputs, old.output, name=old.name, domain=FLOW, **attributes)
        for label, body in bodies.items():
            made.attribute.append(onnx.helper.make_attribute(label, body.graph))
        self.changed = True
        return made


def output_types(node: onnx.NodeProto) -> list[tuple[int, tuple[int, ...]]]:
    """Of each result of a node of ours."""
    graphs = body_graphs(node)
    found = [(v.type.tensor_type.elem_type, static_shape(v) or ()) for v in graphs[0].output]
    if node.op_type == "Branch":
        return found
    facts = Facts.of(node)
    found = found[int(facts.counts) :]
    stacked = ((elem_type, (facts.trips, *shape)) for elem_type, shape in found[facts.carried :])
    return [*found[: facts.carried], *stacked, *([(TensorProto.INT64, ())] if facts.measures else [])]


def result_types(body: onnx.ModelProto) -> list[tuple[int, tuple[int, ...]]]:
    """Of each of a body's outputs; raises FlowError if one has no fixed shape."""
    table = value_table(body.graph)
    types = [table.get(value.name, (0, None)) for value in body.graph.output]
    known = [(elem_type, shape) for elem_type, shape in types if elem_type and shape is not None]
    if len(known) < len(types):
        raise FlowError("the shape of a result of its body depends on the data, or cannot be told")
    return known


def _captured(node: onnx.NodeProto) -> list[str]:
    """What the bodies read of the graph around them, each once."""
    return list(dict.fromkeys(node_inputs(node)[len([n for n in node.input if n]) :]))


def _if(lowering: _Lowering, node: onnx.NodeProto, where: str) -> list[onnx.NodeProto]:
    captured = _captured(node)
    graphs = {a.name: a.g for a in node.attribute}
    bodies = {
        name: lowering.body(graphs[f"{name}_branch"], [], captured, f"{where}, {name}") for name in ("then", "else")
    }
    types = [result_types(body) for body in bodies.values()]
    if types[0] != types[1]:
        one, other = ([list(shape) for _, shape in found] for found in types)
        raise FlowError(f"its branches give results of different shapes or types: {one} and {other}")
    inputs = [name for name in captured if name not in lowering.values]
    return [lowering.node("Branch", node, [node.input[0], *inputs], bodies)]


def _loop(lowering: _Lowering, node: onnx.NodeProto, where: str) -> list[onnx.NodeProto]:
    trips, condition, *initial = [*node.input, "", ""][: max(2, len(node.input))]
    captured = _captured(node)
    carried = [lowering.type(name) for name in initial]
    graph = next(a.g for a in node.attribute if a.name == "body")
    _check_counts(graph, 2 + len(initial), 1 + len(initial))
    formal = [(TensorProto.INT64, _formal_shape(graph, 0)), (TensorProto.BOOL, _formal_shape(graph, 1)), *carried]
    body = lowering.body(graph, formal, captured, where)
    (test, *results) = result_types(body)
    _check_carried(initial, carried, results)
    first = lowering.constant(condition) if condition else np.array([True])
    tests = not _stays_true(body, first)
    if test[0] != TensorProto.BOOL or np.prod(test[1], dtype=int) != 1:
        raise FlowError("its body's condition is no single bool")
    limit = lowering.constant(trips) if trips else None
    count = -2 if not trips else -1 if limit is None else max(int(limit[0]), 0)
    if first is not None and not first[0]:
        count = 0
    stacked = results[len(initial) :]
    if stacked and count < 0:
        raise FlowError("how many entries its results have at most depends on the data")
    if count == -2 and not tests:
        raise FlowError("it never ends")
    asks = bool(condition) and first is None
    measures = bool(stacked) and count > 0 and (tests or asks)
    facts = Facts(count, asks, measures, True, len(initial), (), (False,) * len(stacked))
    if measures:
        named = onnx.NodeProto()
        named.CopyFrom(node)
        missing = len(initial) + len(stacked) - len(node.output)
        named.output.extend(["" for _ in range(missing)] + [f"{next(filter(None, node.output))}/iterations"])
        node = named
    inputs = [*([trips] if count == -1 else []), *([condition] if asks else []), *initial]
    inputs += [name for name in captured if name not in lowering.values]
    return [lowering.node("Repeat", node, inputs, {"body": body}, **facts.attributes())]


def _formal_shape(graph: onnx.GraphProto, index: int) -> tuple[int, ...]:
    """() or (1,), as the body declares for its number of iterations and its condition."""
    tensor = graph.input[index].type.tensor_type
    return (1,) if tensor.HasField("shape") and len(tensor.shape.dim) == 1 else ()


def _stays_true(body: onnx.ModelProto, first: np.ndarray | None) -> bool:
    """Whether the condition that the body returns is always true."""
    name = body.graph.output[0].name
    constant = next((t for t in body.graph.initializer if t.name == name), None)
    if constant is not None:
        return bool(numpy_helper.to_array(constant).all())
    producers = {o: n for n in body.graph.node for o in n.output}
    while name in producers and producers[name].op_type == "Identity":
        name = producers[name].input[0]
    return name == body.graph.input[1].name and first is not None and bool(first[0])


def _check_counts(graph: onnx.GraphProto, given: int, carried: int) -> None:
    if len(graph.input) < given or len(graph.output) < carried:
        raise FlowError(
            f"its body has {len(graph.input)} inputs and {len(graph.output)} results, where it gets {given} and must "
            f"return {carried}"
        )


def _check_carried(names: Sequence[str], before: Sequence[Type], after: Sequence[Type]) -> None:
    for name, old, new in zip(names, before, after, strict=False):
        if old != new:
            raise FlowError(f"{name!r} changes its shape or type from {_text(old)} to {_text(new)} in an iteration")


def _text(found: Type) -> str:
    return f"{TensorProto.DataType.Name(found[0]).lower()}{list(found[1] or ())}"


def _scan(lowering: _Lowering, node: onnx.NodeProto, where: str) -> list[onnx.NodeProto]:
    given = attributes_of(node)
    graph = given["body"]
    scans = int(given["num_scan_inputs"])
    initial, scanned = list(node.input)[: len(node.input) - scans], list(node.input)[len(node.input) - scans :]
    outputs = len(graph.output) - len(initial)
    sources = [lowering.type(name) for name in scanned]
    given_axes = given.get("scan_input_axes", [0] * scans)
    axes = [axis % len(shape) for axis, (_, shape) in zip(given_axes, sources, strict=True)]
    lengths = {shape[axis] for axis, (_, shape) in zip(axes, sources, strict=True)}
    if len(lengths) != 1:
        raise FlowError(f"its scanned inputs are of different lengths {sorted(lengths)}")
    (count,) = lengths
    carried = [lowering.type(name) for name in initial]
    elements = [(t, (*s[:axis], *s[axis + 1 :])) for axis, (t, s) in zip(axes, sources, strict=True)]
    captured = _captured(node)
    _check_counts(graph, len(carried) + len(elements), len(carried))
    body = lowering.body(graph, [*carried, *elements], captured, where)
    results = result_types(body)
    _check_carried(initial, carried, results)
    before, after = [], []
    for i, (axis, (_, shape)) in enumerate(zip(axes, sources, strict=True)):
        if axis:
            order = [axis, *(d for d in range(len(shape)) if d != axis)]
            name = f"{node.output[0]}/scanned{i}"
            before.append(onnx.helper.make_node("Transpose", [scanned[i]], [name], perm=order))
            scanned[i] = name
    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    for i, axis in enumerate(given.get("scan_output_axes", [0] * outputs)):
        slot, rank = len(initial) + i, len(results[len(initial) + i][1]) + 1
        axis %= rank
        if axis and slot < len(node.output) and node.output[slot]:
            order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
            renamed.output[slot] = f"{node.output[slot]}/stacked"
            after.append(onnx.helper.make_node("Transpose", [renamed.output[slot]], [node.output[slot]], perm=order))
    ways = tuple(map(bool, given.get("scan_input_directions", [0] * scans)))
    back = tuple(map(bool, given.get("scan_output_directions", [0] * outputs)))
    facts = Facts(count, False, False, False, len(initial), ways, back)
    inputs = [*initial, *scanned, *(name for name in captured if name not in lowering.values)]
    loop = lowering.node("Repeat", renamed, inputs, {"body": body}, **facts.attributes())
    return [*before, loop, *after]


_RULES = {"If": _if, "Loop": _loop, "Scan": _scan}
