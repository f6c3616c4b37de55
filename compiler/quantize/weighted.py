"""Products and convolutions with constant weights, and their weights as [groups, outputs, inputs, kernel]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..frontend.graph import DEFAULT_DOMAINS, all_nodes, attributes_of, describe

Array = np.ndarray[Any, Any]

# By operator: the place of the weights among the inputs, and of their zero point.
_PLACES = {
    "Conv": (1, None),
    "ConvTranspose": (1, None),
    "Gemm": (1, None),
    "MatMul": (1, None),
    "ConvInteger": (1, 3),
    "MatMulInteger": (1, 3),
    "QLinearConv": (3, 5),
    "QLinearMatMul": (3, 5),
}


@dataclass(frozen=True)
class Layer:
    """A node with constant weights.

    Attributes:
        node: the node.
        weight: the initializer that holds the weights; behind a DequantizeLinear, the one of integers.
        zero: the initializer of its zero point, empty if there is none; `axis` is the one that it lies along.
    """

    node: onnx.NodeProto
    weight: str
    zero: str = ""
    axis: int = 0

    @property
    def name(self) -> str:
        """For people: `Conv 'name'`."""
        return describe(self.node)

    def matrix(self, weight: Array) -> Array:
        """The weights as [groups, outputs of a group, inputs of a group, kernel]; a view of a contiguous array."""
        attributes = attributes_of(self.node)
        groups, operator = int(attributes.get("group", 1)), self.node.op_type
        first, second, kernel = weight.shape[-2], weight.shape[-1], 1
        if "Conv" in operator:
            first, second, kernel = weight.shape[0] // groups, weight.shape[1], math.prod(weight.shape[2:])
        else:
            groups = math.prod(weight.shape[:-2])  # of a batch of products
        view = weight.reshape(groups, first, second, kernel)
        outputs_first = operator in ("Conv", "ConvInteger", "QLinearConv") or bool(attributes.get("transB"))
        return view if outputs_first else view.swapaxes(1, 2)

    def nonzero(self, tensors: Mapping[str, onnx.TensorProto]) -> Array:
        """Which weights are not zero, in the form of `matrix`."""
        weight = numpy_helper.to_array(tensors[self.weight])
        zero: Any = 0
        if self.zero:
            zero = numpy_helper.to_array(tensors[self.zero])
            if zero.size > 1:
                zero = zero.reshape([-1 if axis == self.axis % weight.ndim else 1 for axis in range(weight.ndim)])
        return self.matrix(weight != zero)


def find_layers(graph: onnx.GraphProto) -> tuple[list[Layer], dict[str, onnx.TensorProto]]:
    """The layers of a graph and of those inside it, each set of weights once, and its constants by name."""
    nodes = list(all_nodes(graph.node))
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in nodes:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    integers = {n.output[0]: n for n in nodes if n.op_type == "DequantizeLinear" and n.input[0] in tensors}
    found: dict[str, Layer] = {}
    for node in nodes:
        if node.domain in DEFAULT_DOMAINS and node.op_type in _PLACES and len(node.input) > _PLACES[node.op_type][0]:
            layer = _layer(node, integers)
            tensor = tensors.get(layer.weight)
            if tensor is not None and len(tensor.dims) >= 2 and 0 not in tensor.dims and _known_zero(layer, tensors):
                found.setdefault(layer.weight, layer)
    return list(found.values()), tensors


def _layer(node: onnx.NodeProto, integers: Mapping[str, onnx.NodeProto]) -> Layer:
    place, zero = _PLACES[node.op_type]
    axis = 0 if "Conv" in node.op_type else -1
    if source := integers.get(node.input[place]):
        axis = next((a.i for a in source.attribute if a.name == "axis"), 1)
        return Layer(node, source.input[0], source.input[2] if len(source.input) > 2 else "", axis)
    return Layer(node, node.input[place], node.input[zero] if zero and len(node.input) > zero else "", axis)


def _known_zero(layer: Layer, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether the zero point is a constant, for the whole or along one axis."""
    if not layer.zero:
        return True
    zero, weight = tensors.get(layer.zero), tensors[layer.weight]
    if zero is None:
        return False
    return math.prod(zero.dims) in (1, weight.dims[layer.axis]) and len(zero.dims) < 2
