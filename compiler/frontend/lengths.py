"""Which axes of a graph's values have only as many entries as a scalar of the graph says, and where that gets lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import helper, numpy_helper

from .domains import COUNTED, FLOW
from .elementwise import ELEMENTWISE
from .flow import Facts
from .graph import node_inputs
from .shapes import Types

# By axis, the value that holds the length.
Lengths = dict[int, str]


@dataclass
class Found:
    """What is known of a graph.

    Attributes:
        lengths: by value; those without are not in it.
        problems: why a node cannot read such a value, by its first result.
    """

    lengths: dict[str, Lengths] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def lengths_of(graph: onnx.GraphProto, types: Types) -> Found:
    """Follows lengths from where they begin through the nodes of a sorted graph of known shapes."""
    found = Found()
    if not any(node.domain in (COUNTED, FLOW) for node in graph.node):
        return found
    walk = _Walk(graph, types, found)
    for node in graph.node:
        if node.domain == COUNTED and len(node.output) > 1:
            found.lengths[node.output[0]] = {0: node.output[1]}
        elif node.domain == COUNTED:
            continue
        elif node.domain == FLOW and (length := _iterations(node)):
            found.lengths |= length
        elif any(found.lengths.get(name) for name in node_inputs(node)):
            walk.follow(node)
    return found


def _iterations(node: onnx.NodeProto) -> dict[str, Lengths]:
    """Of what a loop that may end early stacked."""
    if node.op_type != "Repeat" or not (facts := Facts.of(node)).measures:
        return {}
    return {name: {0: node.output[-1]} for name in node.output[facts.carried : -1] if name}


class _Walk:
    def __init__(self, graph: onnx.GraphProto, types: Types, found: Found) -> None:
        self.types, self.found = types, found
        self.constants = {t.name: t for t in graph.initializer}

    def shape(self, name: str) -> tuple[int, ...]:
        return self.types.get(name, (0, None))[1] or ()

    def values(self, node: onnx.NodeProto, index: int) -> list[int] | None:
        """The whole numbers of a constant input; None if it is left out or unknown."""
        tensor = self.constants.get(node.input[index]) if len(node.input) > index else None
        return None if tensor is None else [int(v) for v in numpy_helper.to_array(tensor).reshape(-1)]

    def lengths(self, node: onnx.NodeProto, index: int = 0) -> Lengths:
        return self.found.lengths.get(node.input[index], {}) if len(node.input) > index else {}

    def follow(self, node: onnx.NodeProto) -> None:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type != a.GRAPH}
        rule = None if node.domain else _RULES.get(node.op_type)
        made = rule(self, node, given) if rule else None
        if made is None:
            name = next(n for n in node_inputs(node) if self.found.lengths.get(n))
            self.found.problems[node.output[0]] = (
                f"how many entries its input {name!r} has depends on the data, and it needs to know them all"
            )
            made = {}
        for name in filter(None, node.output):
            if made:
                self.found.lengths[name] = dict(made)


Rule = Callable[[_Walk, onnx.NodeProto, dict[str, Any]], Lengths | None]


def _elementwise(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths:
    rank = len(walk.shape(node.output[0]))
    made: Lengths = {}
    for index, name in enumerate(node.input):
        shift = rank - len(walk.shape(name))
        made = {axis + shift: length for axis, length in walk.lengths(node, index).items()} | made
    return made


def _transpose(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths:
    rank = len(walk.shape(node.input[0]))
    order = list(given.get("perm", range(rank)[::-1]))
    return {order.index(axis): length for axis, length in walk.lengths(node).items()}


def _reshape(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    """Axes that stay as they are: as many elements before, and of the same size."""
    old, new = walk.shape(node.input[0]), walk.shape(node.output[0])
    made: Lengths = {}
    for axis, length in walk.lengths(node).items():
        same = [a for a in range(len(new)) if new[a] == old[axis] and math.prod(new[:a]) == math.prod(old[:axis])]
        if not same:
            return None
        made[same[-1] if old[axis] > 1 else same[0]] = length
    return made


def _gather(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths:
    data, indices = walk.shape(node.input[0]), walk.shape(node.input[1])
    along = given.get("axis", 0) % len(data)
    made = {axis + along: length for axis, length in walk.lengths(node, 1).items()}
    for axis, length in walk.lengths(node).items():
        if axis != along:  # along it, indices name entries that are meant
            made[axis if axis < along else axis + len(indices) - 1] = length
    return made


def _gather_nd(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    last = len(walk.shape(node.input[1])) - 1
    if walk.lengths(node) or last in walk.lengths(node, 1):
        return None
    return walk.lengths(node, 1)


def _along(index: int | None) -> Rule:
    """Operators that mix entries along the axes in an attribute or a constant input only."""

    def rule(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
        rank = len(walk.shape(node.input[0]))
        axes = given.get("axes", given.get("axis"))
        if index is not None and axes is None:
            axes = walk.values(node, index)
        mixed = _axes(axes, rank, given)
        made = walk.lengths(node)
        if any(walk.lengths(node, i) for i in range(1, len(node.input))) or mixed & made.keys():
            return None
        if len(walk.shape(node.output[0])) < rank:  # without the axes that were reduced
            return {axis - sum(m < axis for m in mixed): length for axis, length in made.items()}
        return made

    return rule


def _axes(axes: Any, rank: int, given: dict[str, Any]) -> set[int]:
    if axes is None or axes == []:
        return set() if given.get("noop_with_empty_axes") else set(range(rank))
    return {axis % rank for axis in ([axes] if isinstance(axes, int) else axes)}


def _softmax(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    return _along(None)(walk, node, {"axis": -1} | given)


def _slice(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    starts = walk.values(node, 1) or []
    axes = walk.values(node, 3)
    return _along(None)(walk, node, {"axes": list(range(len(starts))) if axes is None else axes})


def _split(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    return _along(None)(walk, node, {"axis": given.get("axis", 0)})


def _squeeze(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    shape = walk.shape(node.input[0])
    axes = walk.values(node, 1)
    gone = {a for a, size in enumerate(shape) if size == 1} if axes is None else {a % len(shape) for a in axes}
    made = walk.lengths(node)
    if gone & made.keys():
        return None
    return {axis - sum(g < axis for g in gone): length for axis, length in made.items()}


def _unsqueeze(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths:
    rank = len(walk.shape(node.output[0]))
    new = {axis % rank for axis in walk.values(node, 1) or []}
    old = [axis for axis in range(rank) if axis not in new]
    return {old[axis]: length for axis, length in walk.lengths(node).items()}


def _concat(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    axis = given["axis"] % len(walk.shape(node.output[0]))
    made = _elementwise(walk, node, given)
    return None if axis in made else made


def _matmul(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    """Rows of the left side, columns of the right one, and batches."""
    rank = len(walk.shape(node.output[0]))
    made: Lengths = {}
    for side in (0, 1):
        own = len(walk.shape(node.input[side]))
        inner = own - 1 if side == 0 else max(own - 2, 0)
        if inner in walk.lengths(node, side) or own < 2:
            return None
        made |= {axis + rank - own: length for axis, length in walk.lengths(node, side).items()}
    return made


def _gemm(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths | None:
    if given.get("transA") or walk.lengths(node, 1) or walk.lengths(node, 2) or 1 in walk.lengths(node):
        return None
    return walk.lengths(node)


def _shape(walk: _Walk, node: onnx.NodeProto, given: dict[str, Any]) -> Lengths:
    return {}  # counted.py takes it apart


_REDUCTIONS = "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"
_RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys([*_REDUCTIONS.split(), "ReduceSumSquare"], _along(1)),
    **dict.fromkeys(["ArgMax", "ArgMin"], _split),
    **dict.fromkeys(["Softmax", "LogSoftmax", "TopK"], _softmax),
    "Concat": _concat,
    "Flatten": _reshape,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
