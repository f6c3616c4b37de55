"""Brings operator sets 7 to 12 up to 13, which the converters know well.

From 13 on axes are inputs and Softmax works on one axis; TVM's converters follow those rules for older sets
too, which would be silently wrong. onnx's version converter has no rule for many nodes, refuses graphs with
other domains, does not look into subgraphs, and changes results (Upsample, Resize, Softmax over several
axes), hence these rewrites; what is not named here means the same in 13 as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import UserError
from .check import opset_of
from .graph import describe, replace_nodes, subgraphs
from .shapes import Types, value_table

OPSET = 13


def upgrade_opset(model: onnx.ModelProto, where: str) -> None:
    """Rewrites a model of operator set 7 to 12, whose shapes are inferred, to 13; newer ones stay.

    Raises:
        UserError: a node uses what 13 has no counterpart for.
    """
    if opset_of(model) < OPSET:
        upgrade_with(model, OPSET, Rewriter.rewrite, where)


def upgrade_with(model: onnx.ModelProto, opset: int, rewrite: Rule, where: str) -> None:
    """Rewrites the nodes of a model, those of graphs inside too, and gives it an operator set."""
    _upgrade_graph(model.graph, Rewriter(opset_of(model), where), rewrite)
    for entry in model.opset_import:
        if not entry.domain:
            entry.version = opset


def _upgrade_graph(graph: onnx.GraphProto, rewriter: Rewriter, rewrite: Rule) -> None:
    rewriter.types |= value_table(graph)
    nodes = []
    for node in graph.node:
        for inner in subgraphs(node):
            _upgrade_graph(inner, rewriter, rewrite)
        nodes += rewrite(rewriter, node)
    replace_nodes(graph, nodes)


@dataclass
class Rewriter:
    """Rewrites nodes one at a time, from operator set 7 or newer to 13.

    Attributes:
        opset: the version that the nodes are written for.
        types: of the values in reach, as far as known; ranks make for shorter rewrites.
    """

    opset: int
    where: str
    types: Types = field(default_factory=dict)
    count: int = 0

    def rewrite(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Nodes of operator set 13 that do what `node` does."""
        for operator, until, rule in _RULES:
            if node.op_type == operator and not node.domain and self.opset < until:
                return rule(self, node)
        return [node]

    def fail(self, node: onnx.NodeProto, what: str) -> UserError:
        return UserError(
            f"{what} of operator set {self.opset} is not supported",
            f"{self.where}: {describe(node)}",
            "export the model with operator set 13 or newer",
        )

    def name(self, node: onnx.NodeProto, part: str) -> str:
        self.count += 1
        return f"{node.output[0]}/{part}{self.count}"

    def constant(self, node: onnx.NodeProto, part: str, value: Any, dtype: Any) -> onnx.NodeProto:
        tensor = numpy_helper.from_array(np.asarray(value, dtype))
        return onnx.helper.make_node("Constant", [], [self.name(node, part)], value=tensor)

    def dtype(self, name: str) -> Any:
        elem_type = self.types.get(name, (0, None))[0] or onnx.TensorProto.FLOAT
        return onnx.helper.tensor_dtype_to_np_dtype(elem_type)

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self.types.get(name, (0, None))[1]


Rule = Callable[[Rewriter, onnx.NodeProto], list[onnx.NodeProto]]


def take(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value; the attribute goes."""
    for index, attribute in enumerate(node.attribute):
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            del node.attribute[index]
            return value
    return default


def _append_inputs(
    rewriter: Rewriter, node: onnx.NodeProto, inputs: Sequence[tuple[str, Any, Any]]
) -> list[onnx.NodeProto]:
    """Constants as further inputs, given as (name, value or None, dtype); None leaves an input out."""
    constants = []
    while inputs and inputs[-1][1] is None:
        inputs = inputs[:-1]
    for part, value, dtype in inputs:
        if value is None:
            node.input.append("")
            continue
        constants.append(rewriter.constant(node, part, value, dtype))
        node.input.append(constants[-1].output[0])
    return [*constants, node]


def _attribute_to_input(attribute: str) -> Rule:
    def rule(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return _append_inputs(rewriter, node, [(attribute, take(node, attribute), np.int64)])

    return rule


def _clip(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    dtype = rewriter.dtype(node.input[0])
    return _append_inputs(rewriter, node, [(name, take(node, name), dtype) for name in ("min", "max")])


def _pad(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    pads, value = take(node, "pads", []), take(node, "value", 0.0)
    return _append_inputs(rewriter, node, [("pads", pads, np.int64), ("value", value, rewriter.dtype(node.input[0]))])


def _slice(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    return _append_inputs(rewriter, node, [(name, take(node, name), np.int64) for name in ("starts", "ends", "axes")])


def _top_k(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    return _append_inputs(rewriter, node, [("k", [take(node, "k", 1)], np.int64)])


def _dropout(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    take(node, "ratio")  # nothing is dropped outside training
    if rewriter.opset >= 10 or not any(node.output[1:]):
        return [node]
    # The mask, all ones, was of the input's type.
    source, mask, form = node.input[0], node.output[1], rewriter.name(node, "shape")
    del node.output[1:]
    one = numpy_helper.from_array(np.ones(1, rewriter.dtype(source)))
    return [
        node,
        onnx.helper.make_node("Shape", [source], [form]),
        onnx.helper.make_node("ConstantOfShape", [form], [mask], value=one),
    ]


def _batch_normalization(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    if take(node, "spatial", 1) != 1:
        raise rewriter.fail(node, "BatchNormalization over single pixels (spatial=0)")
    return [node]


def _scatter(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    node.op_type = "ScatterElements"
    return [node]


def _scan(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """All values had a batch axis first, and all rows as many steps unless an input said how many."""
    lengths, *given = node.input
    if lengths:
        raise rewriter.fail(node, "Scan with sequence lengths")
    count = take(node, "num_scan_inputs")
    body, ways = take(node, "body"), take(node, "directions", [0] * count)
    inner = onnx.helper.make_node("Scan", [], [], body=body, num_scan_inputs=count, scan_input_directions=ways)
    graph = onnx.GraphProto(name=f"{body.name}/row")
    for name in given:
        value = graph.input.add(name=rewriter.name(node, "row"))
        inner.input.append(value.name)
        elem_type, shape = rewriter.types.get(name, (0, None))
        if elem_type and shape:
            value.type.CopyFrom(onnx.helper.make_tensor_type_proto(elem_type, shape[1:]))
    for number in range(len(body.output)):
        graph.output.add(name=rewriter.name(node, "made"))
        inner.output.append(graph.output[number].name)
    graph.node.append(inner)
    outer = onnx.helper.make_node("Scan", given, node.output, name=node.name, body=graph, num_scan_inputs=len(given))
    return [outer]


def _softmax(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Before 13 it worked on the axes from `axis` on, taken for one."""
    axis, shape = take(node, "axis", 1), rewriter.shape(node.input[0])
    if shape is not None:
        first = axis + (len(shape) if axis < 0 else 0)
        # Equal to one axis where the others after it are of size 1.
        long = [i for i in range(first, len(shape)) if shape[i] != 1]
        if len(long) <= 1 or 0 in shape:
            alone = long[0] if len(long) == 1 else len(shape) - 1
            node.attribute.append(onnx.helper.make_attribute("axis", alone if shape else -1))
            return [node]
    source, target = node.input[0], node.output[0]
    form, flat, result = (rewriter.name(node, part) for part in ("shape", "flat", "result"))
    node.input[0], node.output[0] = flat, result
    node.attribute.append(onnx.helper.make_attribute("axis", -1))
    return [
        onnx.helper.make_node("Shape", [source], [form]),
        onnx.helper.make_node("Flatten", [source], [flat], axis=axis),
        node,
        onnx.helper.make_node("Reshape", [result, form], [target]),
    ]


def _upsample(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Upsample and the first Resize divide positions by the scale and round down, or up where they shrink."""
    constants = []
    scales = take(node, "scales")
    if scales is not None:
        constants = [rewriter.constant(node, "scales", scales, np.float32)]
        node.input.append(constants[0].output[0])
    mode = take(node, "mode", b"nearest")
    nearest = mode == b"nearest"
    shape, result = rewriter.shape(node.input[0]), rewriter.shape(node.output[0])
    shrinks = grows = False
    if shape is not None and result is not None:
        shrinks = any(b < a for a, b in zip(shape, result, strict=True))
        grows = any(b > a for a, b in zip(shape, result, strict=True))
    elif nearest and node.op_type == "Resize":
        raise rewriter.fail(node, "Resize by scales that depend on the data")
    if nearest and shrinks and grows:
        raise rewriter.fail(node, "Resize that grows some axes and shrinks others")
    resize = onnx.helper.make_node(
        "Resize",
        [node.input[0], "", node.input[1]],
        list(node.output),
        name=node.name,
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="ceil" if shrinks else "floor",
    )
    return [*constants, resize]


# Operator, the first operator set in which it is as in 13 in this respect, rule.
_RULES: tuple[tuple[str, int, Rule], ...] = (
    ("BatchNormalization", 9, _batch_normalization),
    ("Clip", 11, _clip),
    ("Dropout", 12, _dropout),
    ("Hardmax", 13, _softmax),
    ("LogSoftmax", 13, _softmax),
    ("Pad", 11, _pad),
    ("ReduceSum", 13, _attribute_to_input("axes")),
    ("Resize", 11, _upsample),
    ("Scan", 9, _scan),
    ("Scatter", 13, _scatter),
    ("Slice", 10, _slice),
    ("Softmax", 13, _softmax),
    ("Split", 13, _attribute_to_input("split")),
    ("Squeeze", 13, _attribute_to_input("axes")),
    ("TopK", 10, _top_k),
    ("Unsqueeze", 13, _attribute_to_input("axes")),
    ("Upsample", 13, _upsample),
)
