"""Results whose size depends on the data: tensors of the largest size there can be, and beside them the true one.

NonZero, Compress, Unique and NonMaxSuppression become operators of fixed shapes, three of them our own: `Positions`,
which lists where flags are set, `Suppress`, and `Whole`, after which all entries are meant. What they make has a
*length* along one axis: the name of the scalar that says how many of its entries are meant. Lengths go through the
operators that leave entries along that axis apart; others are refused. What a graph returns of such a size gets its
length as one more output, by which the loader cuts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .composer import Composer
from .domains import COUNTED
from .graph import replace_nodes
from .lengths import lengths_of
from .shapes import Types, value_table

INT64 = TensorProto.INT64


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
    values = {t.name: numpy_helper.to_array(t).reshape(-1) for t in graph.initializer if len(t.dims) < 2}
    reasons: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    changed = False
    for node in graph.node:
        rule = None if node.domain else _RULES.get(node.op_type)
        known = lengths.get(node.input[0]) if node.op_type == "Shape" and not node.domain else None
        if rule is None and not known:
            nodes.append(node)
            continue
        writer = _Writer(model, node, types, values)
        try:
            if rule is None:
                _shape(writer, known or {})
            else:
                rule(writer)
        except CountedError as error:
            nodes.append(node)
            reasons[node.output[0]] = str(error)
            continue
        changed = True
        nodes += writer.nodes
        graph.initializer.extend(writer.constants)
    if changed:
        replace_nodes(graph, nodes)
    return changed, reasons


def output_types(node: onnx.NodeProto) -> list[tuple[int, tuple[int, ...]]]:
    """Of each result of `Positions`, `Suppress` or `Whole`."""
    shape = tuple(helper.get_node_attr_value(node, "shape"))
    return [(INT64, shape), (INT64, ())]


class _Writer(Composer):
    """Adds what the rules here need.

    Attributes:
        values: of the graph's small initializers, flat.
    """

    def __init__(
        self, model: onnx.ModelProto, node: onnx.NodeProto, types: Types, values: Mapping[str, np.ndarray[Any, Any]]
    ) -> None:
        super().__init__(model, node, types)
        self.values = values

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.type(name)[1]
        if shape is None:
            raise CountedError(f"the shape of {name!r}, which it reads, depends on the data")
        return shape

    def positions(self, flags: str, size: int) -> str:
        """Where `flags` [size] are set, zeros after them; the result's length is its name with `/1`."""
        return self("Positions", flags, domain=COUNTED, outputs=2, shape=[size])


def _shape(writer: _Writer, lengths: dict[int, str]) -> None:
    """The true shape, of a value with lengths."""
    node = writer.node
    given = writer.attributes
    sizes = list(enumerate(writer.shape(node.input[0])))[given.get("start", 0) : given.get("end")]
    parts = [
        writer.reshape(lengths[axis], 1) if axis in lengths else writer.constant(np.array([size]))
        for axis, size in sizes
    ]
    writer("Concat", *parts, into=node.output[0], axis=0)


def _nonzero(writer: _Writer) -> None:
    node = writer.node
    shape = writer.shape(node.input[0]) or (1,)
    size = int(np.prod(shape))
    flags = writer("Cast", writer.reshape(node.input[0], size), to=TensorProto.BOOL)
    found = writer.positions(flags, size)
    rows, stride = [], size
    for extent in shape:
        stride //= max(extent, 1)
        row = writer("Div", found, writer.constant(np.int64(max(stride, 1))))
        row = writer("Mod", row, writer.constant(np.int64(max(extent, 1))))
        rows.append(writer("Unsqueeze", row, writer.constant(np.array([0]))))
    writer("Concat", *rows, into=node.output[0], axis=0)


def _compress(writer: _Writer) -> None:
    node = writer.node
    data, flags = node.input
    axis = writer.attributes.get("axis")
    shape = writer.shape(data)
    if axis is None:
        data, axis, shape = writer.reshape(data, int(np.prod(shape))), 0, (int(np.prod(shape)),)
    (given,) = writer.shape(flags)
    size = min(given, shape[axis])
    if given > size:
        cut = [writer.constant(np.array([value])) for value in (0, size)]
        flags = writer("Slice", flags, *cut)
    writer("Gather", data, writer.positions(flags, size), into=node.output[0], axis=axis)


def _ranks_of_rows(writer: _Writer, rows: str, count: int, width: int) -> str:
    """rows [count, width] → int64 [count, 1] in their order, equal ones for equal rows.

    Elements become ranks within their column; then so many columns become one as have an int64 for all combinations.
    """
    together = 63 // (count + 1).bit_length()
    ranks = _ranks(writer, rows, count, width)
    while width > 1:
        lacking = -width % together
        if lacking:
            ranks = writer("Concat", ranks, writer.constant(np.zeros((count, lacking), np.int64)), axis=1)
        width = (width + lacking) // together
        digits = writer.constant(np.int64(count + 1) ** np.arange(together)[::-1])
        parts = writer("Mul", writer.reshape(ranks, count, width, together), digits)
        whole = writer("ReduceSum", parts, writer.constant(np.array([2])), keepdims=0)
        ranks = _ranks(writer, whole, count, width)
    return ranks


def _ranks(writer: _Writer, keys: str, count: int, width: int) -> str:
    """keys [count, width] → int64: from 1, in the order of the different keys of a column."""
    ordered = writer("TopK", keys, writer.constant(np.array([count])), outputs=2, axis=0, largest=0)
    changes = writer("Cast", _changes(writer, ordered, count, width), to=INT64)
    steps = writer("CumSum", changes, writer.constant(np.int64(0)))
    zeros = writer.constant(np.zeros((count, width), np.int64))
    return writer("ScatterElements", zeros, f"{ordered}/1", steps, axis=0)


def _changes(writer: _Writer, ordered: str, count: int, *shape: int) -> str:
    """ordered [count, …] → bool: whether a key is another one than that before it."""
    before = writer("Gather", ordered, writer.constant(np.maximum(np.arange(count) - 1, 0)))
    first = writer.constant((np.arange(count) == 0).reshape(-1, *[1 for _ in shape]))
    return writer("Or", first, writer("Not", writer("Equal", ordered, before)))


def _unique(writer: _Writer) -> None:
    """Keys are sorted; the first of each run of equal ones stays."""
    node = writer.node
    shape = writer.shape(node.input[0])
    outputs = [*node.output, "", "", ""][:4]
    rows, axis = node.input[0], writer.attributes.get("axis")
    if axis is None:
        count, width = int(np.prod(shape)), 1
    else:
        axis %= len(shape)
        axes = [axis, *(d for d in range(len(shape)) if d != axis)]
        rows = writer("Transpose", rows, perm=axes)
        count, width = shape[axis], int(np.prod([shape[d] for d in axes[1:]]))
    rows = writer.reshape(rows, count, width)
    if width > 1:
        rows = _ranks_of_rows(writer, rows, count, width)
    keys = writer.reshape(rows, count) if width else writer.constant(np.zeros(count, np.int64))
    number = writer.constant(np.array([count]))
    ordered = writer("TopK", keys, number, outputs=2, axis=0, largest=0)
    order = f"{ordered}/1"
    begins = _changes(writer, ordered, count)
    groups = writer("CumSum", writer("Cast", begins, to=INT64), writer.constant(np.int64(0)))
    group = writer("Sub", groups, writer.constant(np.int64(1)))  # of each sorted row
    inverse = writer("ScatterElements", order, order, group, axis=0)
    starts = writer.positions(begins, count)
    length = f"{starts}/1"
    every = writer("Whole", starts, domain=COUNTED, shape=[count])
    firsts = writer("Gather", order, every)  # of each group, where it occurs first
    many, nothing = writer.constant(np.int64(count)), writer.constant(np.zeros(count, np.int64))
    real = writer("Less", writer.constant(np.arange(count)), length)
    ends = writer("Where", real, every, many)
    later = [writer.constant(np.array([value])) for value in (1, count)]
    after = writer("Concat", writer("Slice", ends, *later), writer.constant(np.array([count])), axis=0)
    counts = writer("Sub", after, ends)
    if not writer.attributes["sorted"]:
        # Groups in the order of their first rows; those that are no groups stay behind.
        keys = writer("Where", real, firsts, many)
        rank = writer("TopK", keys, number, outputs=2, axis=0, largest=0)
        places = f"{rank}/1"
        firsts = writer("Gather", firsts, places)
        counts = writer("Gather", counts, places)
        moved = writer("ScatterElements", nothing, places, writer.constant(np.arange(count)), axis=0)
        inverse = writer("Gather", moved, inverse)
    # Through the positions, for their length.
    zero = writer("Mul", starts, writer.constant(np.int64(0)))
    index = writer("Add", writer("Where", real, firsts, nothing), zero)
    if outputs[0]:
        if axis is None:
            flat = writer.reshape(node.input[0], count)
            writer("Gather", flat, index, into=outputs[0])
        else:
            writer("Gather", node.input[0], index, into=outputs[0], axis=axis)
    for name, value in ((outputs[1], index), (outputs[2], inverse), (outputs[3], writer("Add", counts, zero))):
        if name:
            writer("Identity", value, into=name)


def _suppress(writer: _Writer) -> None:
    node = writer.node
    boxes, scores, limit, overlap, least = [*node.input, "", "", ""][:5]
    (batch, count, _), (_, classes, _) = writer.shape(boxes), writer.shape(scores)
    known = writer.values.get(limit)
    most = count if limit and known is None else min(count, int(known[0]) if known is not None else 0)
    limit = limit or writer.constant(np.int64(0))
    overlap = overlap or writer.constant(np.float32(0))
    least = least or writer.constant(np.float32(-np.inf))
    number = writer.constant(np.array([count]))
    best = writer("TopK", scores, number, outputs=2, axis=-1)
    flat = [writer.reshape(value, 1) for value in (limit, overlap, least)]
    made = writer(
        "Suppress", boxes, best, f"{best}/1", *flat, into=node.output[0], domain=COUNTED, outputs=2,
        shape=[batch * classes * most, 3], centred=writer.attributes["center_point_box"],
    )  # fmt: skip
    assert made == node.output[0]


_RULES: dict[str, Callable[[_Writer], None]] = {
    "NonZero": _nonzero,
    "Compress": _compress,
    "Unique": _unique,
    "NonMaxSuppression": _suppress,
}
