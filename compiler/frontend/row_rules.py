"""Where the rows of a model's inputs are in each value: how operators move them, and which keep them apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from .domains import PROGRAMS
from .elementwise import ELEMENTWISE
from .graph import describe, node_inputs
from .shapes import Types


@dataclass(frozen=True)
class Rows:
    """Where the rows of a value are.

    Attributes:
        axis: the axis that counts them; None if all rows would have the same value.
        each: entries of a row along the axis, which stand together.
        groups: how often all rows follow each other along the axis.
    """

    axis: int | None = None
    each: int = 1
    groups: int = 1


class Mixed(Exception):
    """A node in which rows meet; the text names it."""


@dataclass
class Walk:
    types: Types
    constants: Mapping[str, onnx.TensorProto]
    rows: dict[str, Rows]

    def follow(self, node: onnx.NodeProto) -> None:
        inputs = list(node_inputs(node))
        if all(self.of(name).axis is None for name in inputs):
            return  # the results are the same for all rows
        rule = _own_program if node.domain == PROGRAMS else RULES.get(node.op_type) if not node.domain else None
        made = None if rule is None else rule(self, node)
        if made is None:
            raise Mixed(f"{describe(node)} may mix rows")
        self.rows.update({name: made for name in node.output if name})

    def of(self, name: str) -> Rows:
        return self.rows.get(name, Rows())

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.types.get(name, (0, None))[1]
        if shape is None:
            raise Mixed(f"the shape of {name!r} is not known")
        return shape

    def attribute(self, node: onnx.NodeProto, name: str, default: Any) -> Any:
        return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        return onnx.numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def axes(self, node: onnx.NodeProto, place: int = 1) -> list[int] | None:
        """Of a reduction and the like: the attribute `axes`, or the constant input."""
        given = self.attribute(node, "axes", None)
        if given is None and len(node.input) > place and node.input[place]:
            found = self.constant(node.input[place])
            given = None if found is None else found.tolist()
        return None if given is None else [int(axis) for axis in given]

    def same_for_all(self, name: str, axis: int) -> bool:
        """Whether a constant is the same at each place of an axis."""
        value = self.constant(name)
        return value is not None and bool(np.all(value == np.take(value, [0], axis)))


def _broadcast(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """Element by element: rows meet rows, or what is the same for all of them."""
    rank = len(walk.shape(node.output[0]))
    found: set[Rows] = set()
    for name in node_inputs(node):
        rows = walk.of(name)
        if rows.axis is not None:
            found.add(replace(rows, axis=rows.axis + rank - len(walk.shape(name))))
    if len(found) != 1:
        return None
    (made,) = found
    assert made.axis is not None
    for name in node_inputs(node):
        shape = walk.shape(name)
        axis = made.axis - rank + len(shape)
        if walk.of(name).axis is None and axis >= 0 and shape[axis] != 1 and not walk.same_for_all(name, axis):
            return None
    return made


def _along(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """Operators along one axis, or from one on, which is not that of the rows."""
    rows, shape = walk.of(node.input[0]), walk.shape(node.input[0])
    if any(walk.of(name).axis is not None for name in node.input[1:]):
        return None
    axis = int(walk.attribute(node, "axis", _DEFAULT_AXIS.get(node.op_type, -1))) % max(len(shape), 1)
    before = node.op_type in ("LayerNormalization", "RMSNormalization")
    return None if rows.axis is None or rows.axis == axis or (before and rows.axis > axis) else rows


_DEFAULT_AXIS = {"Concat": 0, "Split": 0, "Gather": 0, "CumSum": 0, "CumProd": 0}


def _cumulative(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    rows, axis = walk.of(node.input[0]), walk.constant(node.input[1])
    return None if axis is None or rows.axis == axis.item() % len(walk.shape(node.input[0])) else rows


def _arg(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    rows, rank = walk.of(node.input[0]), len(walk.shape(node.input[0]))
    axis = int(walk.attribute(node, "axis", 0)) % rank
    return _without(rows, [axis], bool(walk.attribute(node, "keepdims", 1)))


def _reduce(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    rows, rank = walk.of(node.input[0]), len(walk.shape(node.input[0]))
    axes = walk.axes(node)
    if not axes:
        return rows if walk.attribute(node, "noop_with_empty_axes", 0) else None
    return _without(rows, [axis % rank for axis in axes], bool(walk.attribute(node, "keepdims", 1)))


def _without(rows: Rows, axes: Sequence[int], keep: bool) -> Rows | None:
    """Where the rows are when these axes are gone."""
    if rows.axis is None or rows.axis in axes:
        return None
    return rows if keep else replace(rows, axis=rows.axis - sum(axis < rows.axis for axis in axes))


def _reshape(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """The order of elements stays: the rows are where as much comes before them, and as much belongs to each."""
    rows = walk.of(node.input[0])
    if rows.axis is None:
        return None
    old, new = walk.shape(node.input[0]), walk.shape(node.output[0])
    count, before = old[rows.axis] // (rows.each * rows.groups), math.prod(old[: rows.axis]) * rows.groups
    for axis, size in enumerate(new):
        groups, rest = divmod(before, math.prod(new[:axis]) or 1)
        if groups and not rest and size and size % (groups * count) == 0:
            return Rows(axis, size // (groups * count), groups)
    return None


def _transpose(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    rows, rank = walk.of(node.input[0]), len(walk.shape(node.input[0]))
    order = list(walk.attribute(node, "perm", range(rank)[::-1]))
    return None if rows.axis is None else replace(rows, axis=order.index(rows.axis))


def _product(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """Rows are the rows of the left matrices, or a dimension of the batch of both."""
    left, right = (walk.of(name) for name in node.input[:2])
    ranks = [len(walk.shape(name)) for name in node.input[:2]]
    rank = len(walk.shape(node.output[0]))
    if left.axis is not None and right.axis is None and ranks[1] >= 2 and left.axis < ranks[0] - 1:
        size = walk.shape(node.input[1])
        axis = left.axis - ranks[0] + ranks[1]
        batch = left.axis < ranks[0] - 2 and axis >= 0 and size[axis] != 1
        return None if batch else replace(left, axis=left.axis + rank - ranks[0])
    if left.axis is not None and right.axis is None and ranks[1] == 1 and left.axis < ranks[0] - 1:
        return left
    aligned = {(rows.axis or 0) - n for rows, n in zip((left, right), ranks, strict=True)}
    if (
        left.axis is not None
        and right.axis is not None
        and left == replace(right, axis=left.axis)
        and len(aligned) == 1
    ):
        return replace(left, axis=left.axis + rank - ranks[0]) if left.axis < ranks[0] - 2 else None
    return None


def _gemm(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    left, turned = walk.of(node.input[0]), walk.attribute(node, "transA", 0)
    if left.axis != (1 if turned else 0) or any(walk.of(name).axis is not None for name in node.input[1:2]):
        return None
    if len(node.input) > 2 and node.input[2]:
        added, shape = walk.of(node.input[2]), walk.shape(node.input[2])
        if added.axis is not None:
            return replace(left, axis=0) if added == replace(left, axis=0) and len(shape) == 2 else None
        if len(shape) == 2 and shape[0] != 1 and not walk.same_for_all(node.input[2], 0):
            return None
    return replace(left, axis=0)


def _gather(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    data, indices = (walk.of(name) for name in node.input[:2])
    rank = len(walk.shape(node.input[0]))
    axis = int(walk.attribute(node, "axis", 0)) % max(rank, 1)
    if data.axis is None and indices.axis is not None:
        return replace(indices, axis=axis + indices.axis)
    if indices.axis is not None or data.axis is None or data.axis == axis:
        return None
    return replace(data, axis=data.axis + (len(walk.shape(node.input[1])) - 1 if data.axis > axis else 0))


def _gather_elements(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    data, indices = (walk.of(name) for name in node.input[:2])
    axis = int(walk.attribute(node, "axis", 0)) % len(walk.shape(node.input[0]))
    return data if data == indices and data.axis != axis else None


def _concat(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """Side by side, or all rows of one input after all of another."""
    axis = int(walk.attribute(node, "axis", 0)) % len(walk.shape(node.output[0]))
    parts = [walk.of(name) for name in node_inputs(node)]
    if all(rows.axis == axis and rows.each == parts[0].each for rows in parts):
        return replace(parts[0], groups=sum(rows.groups for rows in parts))
    made = _broadcast(walk, node)
    return None if made is None or made.axis == axis else made


def _slice(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """The axis of rows stays as it is."""
    rows = walk.of(node.input[0])
    if rows.axis is None or any(walk.of(name).axis is not None for name in node.input[1:]):
        return None
    same = walk.shape(node.input[0])[rows.axis] == walk.shape(node.output[0])[rows.axis]
    steps = walk.constant(node.input[4]) if len(node.input) > 4 and node.input[4] else np.ones(1)
    return rows if same and steps is not None and bool(np.all(steps > 0)) else None


def _same_axis(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """Pad, Expand, Tile: axes may come before, the rows' own keeps its size."""
    rows = walk.of(node.input[0])
    if rows.axis is None or any(walk.of(name).axis is not None for name in node.input[1:]):
        return None
    old, new = walk.shape(node.input[0]), walk.shape(node.output[0])
    axis = rows.axis + len(new) - len(old)
    if node.op_type == "Pad":
        pads = walk.constant(node.input[1])
        if pads is None or len(node.input) > 3 or pads[[rows.axis, rows.axis + len(old)]].any():
            return None
    return replace(rows, axis=axis) if new[axis] == old[rows.axis] else None


def _one_hot(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    rows, rank = walk.of(node.input[0]), len(walk.shape(node.output[0]))
    axis = int(walk.attribute(node, "axis", -1)) % rank
    if rows.axis is None or any(walk.of(name).axis is not None for name in node.input[1:]):
        return None
    return replace(rows, axis=rows.axis + (rows.axis >= axis))


def _own_program(walk: Walk, node: onnx.NodeProto) -> Rows | None:
    """They take rows along the first axis of their first input, and make rows along the first axis of their results."""
    if node.op_type == "Sample":
        return None  # whose places have rows of their own, too
    others = any(walk.of(name).axis is not None for name in node.input[1:])
    return Rows(0) if walk.of(node.input[0]) == Rows(0) and not others else None


Rule = Callable[[Walk, onnx.NodeProto], Rows | None]
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _broadcast),
    **{f"Reduce{name}": _reduce for name in _REDUCTIONS.split()},
    **dict.fromkeys(["Hardmax", "LayerNormalization", "LogSoftmax", "LpNormalization", "RMSNormalization"], _along),
    **dict.fromkeys(["Softmax", "Split", "TopK"], _along),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("CumSum", "CumProd"), _cumulative),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Expand", "Pad", "Tile"), _same_axis),
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "MatMul": _product,
    "OneHot": _one_hot,
    "Slice": _slice,
    "Transpose": _transpose,
}
