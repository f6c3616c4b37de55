"""Reads quantised graphs: which values are 8-bit tensors with a scale, and which operators only move elements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .graph import all_nodes, node_inputs
from .shapes import Types

Array = np.ndarray[Any, Any]

EIGHT_BITS = (TensorProto.UINT8, TensorProto.INT8)
# Where the weights stand that may be quantised; a bias comes behind them.
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
RECURRENT = ("GRU", "LSTM", "RNN")  # weights of the data and of the state are their second and third inputs
# Operators whose results are elements of their first input, whatever type these have.
_MOVES = (
    "DepthToSpace Expand Flatten Gather GatherElements GatherND Identity MaxPool Pad Reshape Resize Slice SpaceToDepth "
    "Split Squeeze Tile Transpose Unsqueeze"
)
MOVES = frozenset(_MOVES.split())


@dataclass(frozen=True)
class Step:
    """What a step of an 8-bit tensor stands for.

    Attributes:
        elem_type: ONNX's number of the tensor's type.
        scale: float32, scalar or [n] along `axis`.
        zero: integers of the scale's shape, or a scalar.
    """

    elem_type: int
    scale: Array
    zero: Array
    axis: int

    @property
    def single(self) -> bool:
        """Whether it is the same for the whole tensor."""
        return bool(self.scale.ndim == 0 and self.zero.ndim == 0)

    def same(self, other: Step) -> bool:
        """Of the same type, scale and zero point, and both single."""
        alike = self.single and other.single and self.elem_type == other.elem_type
        return alike and bool(self.scale == other.scale and self.zero == other.zero)

    def limits(self) -> tuple[int, int]:
        info = np.iinfo(onnx.helper.tensor_dtype_to_np_dtype(self.elem_type))
        return int(info.min), int(info.max)

    def rounded(self, value: float) -> Array:
        """The step for a finite real value, beyond the type's limits too; of the scale's shape."""
        return np.asarray(np.rint(np.float32(value) / self.scale).astype(np.int64) + self.zero)


class Values:
    """The values of a graph: makers, readers, constants and types, which rules keep up to date as they go."""

    def __init__(self, graph: onnx.GraphProto, types: Types) -> None:
        self.types = types
        self.constants: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        self.makers: dict[str, onnx.NodeProto] = {name: node for node in graph.node for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node_inputs(node):
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in graph.output}

    def constant(self, name: str) -> Array | None:
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def elem(self, name: str) -> int:
        return self.types.get(name, (0, None))[0]

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self.types.get(name, (0, None))[1]

    def maker(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that makes a value, if it is this operator."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == operator and not node.domain else None

    def private(self, name: str) -> bool:
        """Whether a value has one reader and is no result."""
        return name not in self.outputs and len(self.readers.get(name, ())) == 1

    def step(self, node: onnx.NodeProto) -> Step | None:
        """The step of a QuantizeLinear or DequantizeLinear with float32 and constants; None of any other form."""
        if len(node.input) < 2 or not node.output:
            return None
        quantises = node.op_type == "QuantizeLinear"
        wide, narrow = (node.input[0], node.output[0]) if quantises else (node.output[0], node.input[0])
        scale = self.constant(node.input[1])
        given = node.input[2] if len(node.input) > 2 else ""
        zero = self.constant(given) if given else np.zeros((), np.int32)
        if self.elem(wide) != TensorProto.FLOAT or scale is None or zero is None or scale.dtype != np.float32:
            return None
        attributes = {a.name: a.i for a in node.attribute}
        rank = len(self.shape(narrow) or ())
        if attributes.get("block_size") or self.elem(narrow) not in (*EIGHT_BITS, TensorProto.INT32):
            return None
        scale, zero = (value.reshape(()) if value.size == 1 else value for value in (scale, zero))
        if scale.ndim > 1 or zero.ndim > scale.ndim or not (scale > 0).all():
            return None
        return Step(self.elem(narrow), scale, zero.astype(np.int64), attributes.get("axis", 1) % max(rank, 1))

    def dequantised(self, name: str) -> tuple[str, Step] | None:
        """The tensor that a value is the real numbers of, and its step."""
        node = self.maker(name, "DequantizeLinear")
        step = None if node is None else self.step(node)
        return None if node is None or step is None else (node.input[0], step)


def weights_of_products(graph: onnx.GraphProto) -> set[str]:
    """Results of DequantizeLinear that go into products by dequantised data, as weights or biases.

    Computed they would be floats, and the products of floats too.
    """
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, place))

    def is_data(name: str) -> bool:
        node = makers.get(name)
        while node is not None and not node.domain and node.op_type in MOVES and node.input:
            node = makers.get(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    def is_weight(name: str) -> bool:
        for node, place in readers.get(name, ()):
            if node.op_type in PRODUCTS and not node.domain and place > 0 and is_data(node.input[0]):
                return True
            if place in (1, 2) and quantises_when_run(node, makers):
                return True
            if node.op_type in MOVES and not node.domain and place == 0 and any(map(is_weight, node.output)):
                return True
        return False

    found = (n for n in graph.node if n.op_type == "DequantizeLinear" and not n.domain)
    return {name for node in found for name in node.output if is_weight(name)}


def quantises_when_run(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a recurrent layer reads data that a DynamicQuantizeLinear makes 8 bits of and a DequantizeLinear floats
    again, so that its state may be rounded to 8 bits as well."""
    if node.op_type not in RECURRENT or node.domain:
        return False
    source = makers.get(node.input[0])
    if source is None or source.op_type != "DequantizeLinear" or source.domain or len(source.input) < 3:
        return False
    ranges = [makers.get(name) for name in source.input]
    return all(r is not None and r.op_type == "DynamicQuantizeLinear" and r is ranges[0] for r in ranges)


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether values are rounded to few bits between operators, where runtimes may differ by a step."""
    nodes = [*all_nodes(model.graph.node), *(node for function in model.functions for node in function.node)]
    return any(node.op_type in _ROUNDING or node.op_type.startswith("QLinear") for node in nodes)


_ROUNDING = frozenset(
    ("QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "QAttention", "QGemm")
)
