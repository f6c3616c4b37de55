"""Products and convolutions, which mix channels; see `dead_channels.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from .channels import Array, Graph, Link, attribute_of


@dataclass(eq=False)
class Layer(Link):
    """A product or a convolution of one group with constant weights.

    Attributes:
        weight: [outputs, inputs, kernel].
        reads: which inputs an output depends on.
        bias: what is added to each output, None if it is not known.
        padded: whether the border of the input is zeros.
    """

    node: onnx.NodeProto
    weight: Array
    bias: Array | None
    padded: bool

    def __post_init__(self) -> None:
        self.reads: Array = np.asarray(self.weight.any(axis=2))

    def absorbs(self, graph: Graph) -> Array:
        """By input, whether it is a number that can go into the bias."""
        value = graph.values.get(self.node.input[0])
        if value is None:
            return np.zeros(self.weight.shape[1], bool)
        zero = value.constant == 0
        return np.asarray(value.known & (zero if self.padded or self.bias is None else np.isfinite(value.constant)))

    def spread(self, graph: Graph) -> None:
        value = graph.values.get(self.node.input[0])
        if value is not None:
            read = self.reads[graph.values[self.node.output[0]].needed].any(axis=0)
            value.needed |= read & ~self.absorbs(graph)

    def added(self, graph: Graph, inputs: Array) -> Array:
        """What constant inputs add to each output."""
        value = graph.values[self.node.input[0]]
        sums = self.weight[:, inputs].astype(np.float64).sum(axis=2) @ value.constant[inputs]
        return np.asarray(sums * attribute_of(self.node, "alpha", 1.0))

    def rewrite(self, graph: Graph) -> list[onnx.NodeProto]:
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        rows, data = graph.values[node.output[0]].needed, graph.values.get(node.input[0])
        columns = data.needed if data is not None else np.ones(self.weight.shape[1], bool)
        if rows.all() and columns.all():
            return [node]
        added = self.added(graph, ~columns) if data is not None else np.zeros(len(rows))
        weight, (outputs, inputs) = graph.array(node.input[1]), weight_axes(node)
        node.input[1] = graph.replace(node.input[1], weight.compress(rows, outputs).compress(columns, inputs))
        if node.op_type == "MatMul":
            return self._product(graph, node, added[rows].astype(weight.dtype))
        beta = attribute_of(node, "beta", 1.0)
        given = node.input[2] if len(node.input) > 2 else ""
        if given or added.any():
            bias = graph.array(given) if given else np.zeros(len(rows), weight.dtype)
            full = (bias + added / beta).astype(weight.dtype) if added.any() else bias
            if full.shape[-1:] == rows.shape:
                full = full.compress(rows, -1)
            del node.input[2:]
            node.input.append(graph.replace(given, full))
        return [node]

    @staticmethod
    def _product(graph: Graph, node: onnx.NodeProto, added: Array) -> list[onnx.NodeProto]:
        if not added.any():
            return [node]
        result = node.output[0]
        node.output[0] = f"{result}/product"
        return [node, helper.make_node("Add", [node.output[0], graph.replace("", added)], [result], f"{result}/bias")]


def layer_of(graph: Graph, node: onnx.NodeProto) -> Layer | None:
    """The layer that a node is, whose result is followed from here on."""
    if node.domain or node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in graph.constants:
        return None
    weight, shape = graph.array(node.input[1]), graph.shape(node.input[0])
    if shape is None or graph.shape(node.output[0]) is None or weight.dtype.kind != "f" or 0 in (*shape, *weight.shape):
        return None
    axis = 1 if node.op_type == "Conv" else len(shape) - 1
    if attribute_of(node, "group", 1) > 1 or attribute_of(node, "transA", 0) or (weight.ndim != 2 and axis != 1):
        return None
    if len(shape) < 2 or (node.op_type == "MatMul" and weight.ndim != 2):
        return None
    outputs, inputs = weight_axes(node)
    matrix = np.moveaxis(weight, (outputs, inputs), (0, 1)).reshape(weight.shape[outputs], weight.shape[inputs], -1)
    data = graph.values.get(node.input[0])
    if data is not None and data.axis != axis:
        return None
    if any(name not in graph.constants for name in filter(None, node.input[2:])):
        return None
    bias = bias_of(graph, node, len(matrix))
    layer = Layer(node, matrix, bias, is_padded(node))
    absorbed = layer.absorbs(graph)
    known = np.asarray(~layer.reads[:, ~absorbed].any(axis=1)) & (bias is not None)
    constant = np.zeros(len(matrix)) if bias is None else bias
    graph.follow(node.output[0], axis, constant + layer.added(graph, absorbed) if absorbed.any() else constant, known)
    return layer


def bias_of(graph: Graph, node: onnx.NodeProto, outputs: int) -> Array | None:
    """What is added to each output, if it is known and the same in each row."""
    name = node.input[2] if len(node.input) > 2 else ""
    if not name:
        return np.zeros(outputs)
    if name not in graph.constants:
        return None
    bias = graph.array(name).astype(np.float64) * attribute_of(node, "beta", 1.0)
    return np.broadcast_to(bias.reshape(-1), outputs) if bias.size in (1, *bias.shape[-1:]) else None


def weight_axes(node: onnx.NodeProto) -> tuple[int, int]:
    """The axes of outputs and of inputs."""
    return (0, 1) if node.op_type == "Conv" or attribute_of(node, "transB", 0) else (1, 0)


def is_padded(node: onnx.NodeProto) -> bool:
    automatic = attribute_of(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    return automatic or any(attribute_of(node, "pads", ()))
