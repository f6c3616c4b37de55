"""Results whose size depends on the data: tensors of the largest size there can be, and beside them the true one.

NonZero, Compress, Unique and NonMaxSuppression become operators of fixed shapes, three of them our own: `Positions`,
which lists where flags are set, `Suppress`, and `Whole`, after which all entries are meant. What they make has a
*length* along one axis: the name of the scalar that says how many of its entries are meant. Lengths go through the
operators that leave entries along that axis apart; others are refused. What a graph returns of such a size gets its
length as one more output, by which the loader cuts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .domains import COUNTED
from .graph import replace_nodes
from .lengths import lengths_of
from .shapes import Types, value_table

INT64 = TensorProto.INT64
# Sorting rows takes a pass for each of their elements.
_MAX_ROW = 64


class CountedError(Exception):
    """Why a node cannot be compiled."""


def lower_counted(model: onnx.ModelProto) -> tuple[bool, dict[str, str]]:
    """Replaces what makes results of unknown size, and asks for such a size, in a settled graph.

    Returns:
        Whether anything changed, and why some nodes stay, by the node's first result.
    """
    graph = model.graph
    types = value_table(graph)
    lengths = lengths_of(graph, types).lengths
    writer = _Writer(
        types, {t.name: numpy_helper.to_array(t).reshape(-1) for t in graph.initializer if len(t.dims) < 2}
    )
    reasons: dict[str, str] = {}
    for node in graph.node:
        rule = None if node.domain else _RULES.get(node.op_type)
        if rule is None and not (node.op_type == "Shape" and not node.domain and lengths.get(node.input[0])):
            writer.nodes.append(node)
            continue
        mark = len(writer.nodes)
        try:
            if rule is None:
                _shape(writer, node, lengths[node.input[0]])
            else:
                rule(writer, node)
            writer.changed = True
        except CountedError as error:
            del writer.nodes[mark:]
            writer.nodes.append(node)
            reasons[node.output[0]] = str(error)
    if writer.changed:
        replace_nodes(graph, writer.nodes)
        graph.initializer.extend(writer.constants)
    return writer.changed, reasons


def output_types(node: onnx.NodeProto) -> list[tuple[int, tuple[int, ...]]]:
    """Of each result of `Positions`, `Suppress` or `Whole`."""
    shape = tuple(helper.get_node_attr_value(node, "shape"))
    return [(INT64, shape), (INT64, ())]


@dataclass
class _Writer:
    """Collects nodes; `op` names their results."""

    types: Types
    values: dict[str, np.ndarray]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    changed: bool = False
    prefix: str = ""

    def begin(self, node: onnx.NodeProto) -> None:
        self.prefix = next(filter(None, node.output))

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.types.get(name, (0, None))[1]
        if shape is None:
            raise CountedError(f"the shape of {name!r}, which it reads, depends on the data")
        return shape

    def constant(self, value: Any) -> str:
        name = f"{self.prefix}/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(
        self, operator: str, *inputs: str, into: str = "", domain: str = "", outputs: int = 1, **attributes: Any
    ) -> str:
        """Adds a node; the name of its first result."""
        name = into or f"{self.prefix}/{operator}{len(self.nodes)}"
        names = [name, *(f"{name}/{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, inputs, names, domain=domain, **attributes))
        return name

    def reshape(self, value: str, *shape: int) -> str:
        return self.op("Reshape", value, self.constant(np.array(shape, np.int64)))

    def positions(self, flags: str, size: int) -> str:
        """Where `flags` [size] are set, zeros after them; the result's length is its name with `/1`."""
        return self.op("Positions", flags, domain=COUNTED, outputs=2, shape=[size])


def _shape(writer: _Writer, node: onnx.NodeProto, lengths: dict[int, str]) -> None:
    """The true shape, of a value with lengths."""
    writer.begin(node)
    given = {a.name: a.i for a in node.attribute}
    sizes = list(enumerate(writer.shape(node.input[0])))[given.get("start", 0) : given.get("end")]
    parts = [
        writer.reshape(lengths[axis], 1) if axis in lengths else writer.constant(np.array([size]))
        for axis, size in sizes
    ]
    writer.op("Concat", *parts, into=node.output[0], axis=0)


def _nonzero(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.begin(node)
    shape = writer.shape(node.input[0]) or (1,)
    size = int(np.prod(shape))
    flags = writer.op("Cast", writer.reshape(node.input[0], size), to=TensorProto.BOOL)
    found = writer.positions(flags, size)
    rows, stride = [], size
    for extent in shape:
        stride //= max(extent, 1)
        row = writer.op("Div", found, writer.constant(np.int64(max(stride, 1))))
        row = writer.op("Mod", row, writer.constant(np.int64(max(extent, 1))))
        rows.append(writer.op("Unsqueeze", row, writer.constant(np.array([0]))))
    writer.op("Concat", *rows, into=node.output[0], axis=0)


def _compress(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.begin(node)
    data, flags = node.input
    axis = next((a.i for a in node.attribute if a.name == "axis"), None)
    shape = writer.shape(data)
    if axis is None:
        data, axis, shape = writer.reshape(data, int(np.prod(shape))), 0, (int(np.prod(shape)),)
    (given,) = writer.shape(flags)
    size = min(given, shape[axis])
    if given > size:
        cut = [writer.constant(np.array([value])) for value in (0, size)]
        flags = writer.op("Slice", flags, *cut)
    writer.op("Gather", data, writer.positions(flags, size), into=node.output[0], axis=axis)


def _unique(writer: _Writer, node: onnx.NodeProto) -> None:
    """Rows are sorted; the first of each run of equal ones stays."""
    writer.begin(node)
    given = {a.name: a.i for a in node.attribute}
    shape = writer.shape(node.input[0])
    outputs = [*node.output, "", "", ""][:4]
    rows, axis = node.input[0], given.get("axis")
    if axis is None:
        count, width = int(np.prod(shape)), 1
    else:
        axis %= len(shape)
        axes = [axis, *(d for d in range(len(shape)) if d != axis)]
        rows = writer.op("Transpose", rows, perm=axes)
        count, width = shape[axis], int(np.prod([shape[d] for d in axes[1:]]))
    if width > _MAX_ROW:
        raise CountedError(f"rows of more than {_MAX_ROW} elements are not compared")
    rows = writer.reshape(rows, count, width)
    # A stable sort by every column, the first one last.
    number = writer.constant(np.array([count]))
    order = writer.constant(np.arange(count))
    for column in reversed(range(width)):
        keys = writer.op("Gather", writer.op("Gather", rows, writer.constant(np.int64(column)), axis=1), order)
        sort = writer.op("TopK", keys, number, outputs=2, axis=0, largest=0)
        order = writer.op("Gather", order, f"{sort}/1")
    ordered = writer.op("Gather", rows, order)
    before = writer.op("Gather", ordered, writer.constant(np.maximum(np.arange(count) - 1, 0)))
    begins = writer.constant(np.arange(count) == 0)
    for column in range(width):
        pair = [writer.op("Gather", each, writer.constant(np.int64(column)), axis=1) for each in (ordered, before)]
        begins = writer.op("Or", begins, writer.op("Not", writer.op("Equal", *pair)))
    groups = writer.op("CumSum", writer.op("Cast", begins, to=INT64), writer.constant(np.int64(0)))
    group = writer.op("Sub", groups, writer.constant(np.int64(1)))  # of each sorted row
    inverse = writer.op("ScatterElements", order, order, group, axis=0)
    starts = writer.positions(begins, count)
    length = f"{starts}/1"
    every = writer.op("Whole", starts, domain=COUNTED, shape=[count])
    firsts = writer.op("Gather", order, every)  # of each group, where it occurs first
    many, nothing = writer.constant(np.int64(count)), writer.constant(np.zeros(count, np.int64))
    real = writer.op("Less", writer.constant(np.arange(count)), length)
    ends = writer.op("Where", real, every, many)
    later = [writer.constant(np.array([value])) for value in (1, count)]
    after = writer.op("Concat", writer.op("Slice", ends, *later), writer.constant(np.array([count])), axis=0)
    counts = writer.op("Sub", after, ends)
    if not given.get("sorted", 1):
        # Groups in the order of their first rows; those that are no groups stay behind.
        keys = writer.op("Where", real, firsts, many)
        rank = writer.op("TopK", keys, number, outputs=2, axis=0, largest=0)
        places = f"{rank}/1"
        firsts = writer.op("Gather", firsts, places)
        counts = writer.op("Gather", counts, places)
        moved = writer.op("ScatterElements", nothing, places, writer.constant(np.arange(count)), axis=0)
        inverse = writer.op("Gather", moved, inverse)
    # Through the positions, for their length.
    zero = writer.op("Mul", starts, writer.constant(np.int64(0)))
    index = writer.op("Add", writer.op("Where", real, firsts, nothing), zero)
    if outputs[0]:
        if axis is None:
            flat = writer.reshape(node.input[0], count)
            writer.op("Gather", flat, index, into=outputs[0])
        else:
            writer.op("Gather", node.input[0], index, into=outputs[0], axis=axis)
    for name, value in ((outputs[1], index), (outputs[2], inverse), (outputs[3], writer.op("Add", counts, zero))):
        if name:
            writer.op("Identity", value, into=name)


def _suppress(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.begin(node)
    boxes, scores, limit, overlap, least = [*node.input, "", "", ""][:5]
    (batch, count, _), (_, classes, _) = writer.shape(boxes), writer.shape(scores)
    centred = next((a.i for a in node.attribute if a.name == "center_point_box"), 0)
    known = writer.values.get(limit)
    most = count if limit and known is None else min(count, int(known[0]) if known is not None else 0)
    limit = limit or writer.constant(np.int64(0))
    overlap = overlap or writer.constant(np.float32(0))
    least = least or writer.constant(np.float32(-np.inf))
    number = writer.constant(np.array([count]))
    best = writer.op("TopK", scores, number, outputs=2, axis=-1)
    flat = [writer.reshape(value, 1) for value in (limit, overlap, least)]
    made = writer.op(
        "Suppress", boxes, best, f"{best}/1", *flat, into=node.output[0], domain=COUNTED, outputs=2,
        shape=[batch * classes * most, 3], centred=centred,
    )  # fmt: skip
    assert made == node.output[0]


_RULES = {"NonZero": _nonzero, "Compress": _compress, "Unique": _unique, "NonMaxSuppression": _suppress}
