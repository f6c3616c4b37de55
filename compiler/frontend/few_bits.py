"""Finds products with weights of 4 or 8 bits, so that they stay what they are: else they would be folded to floats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .domains import PROGRAMS
from .graph import attributes_of, replace_nodes
from .programs import type_attributes
from .shapes import Types, value_table

Array = np.ndarray[Any, Any]

_MS = "com.microsoft"
_BITS = {
    onnx.TensorProto.INT8: 8,
    onnx.TensorProto.UINT8: 8,
    onnx.TensorProto.INT4: 4,
    onnx.TensorProto.UINT4: 4,
}
# Fewer weights are read so fast that floats are as good.
LEAST_WEIGHTS = 1 << 14
# Of weights that share a scale, else there are too many scales.
_LEAST_BLOCK = 8


@dataclass(frozen=True)
class _Weights:
    """Weights [inputs, outputs] as integers.

    Attributes:
        values: int8; of 4 bits -8 to 7.
        scale: float32 [groups, outputs].
        zero: int8 like `scale`, None for zeros.
        bits: 4 or 8.
    """

    values: Array
    scale: Array
    zero: Array | None
    bits: int


def find_few_bits(model: onnx.ModelProto) -> bool:
    """Rewrites MatMulNBits, and MatMul and Gemm of floats by a DequantizeLinear of constants; whether there are any.

    Products whose other input is dequantised too are left: they are products of integers.
    """
    graph = model.graph
    if not any(node.op_type in ("DequantizeLinear", "MatMulNBits") for node in graph.node):
        return False
    finder = _Finder(graph, value_table(graph))
    nodes: list[onnx.NodeProto] = []
    changed = False
    for node in graph.node:
        made = finder.rewrite(node)
        nodes += made or [node]
        changed |= bool(made)
    if changed:
        replace_nodes(graph, nodes)
        graph.initializer.extend(finder.made)
    return changed


class _Finder:
    def __init__(self, graph: onnx.GraphProto, types: Types) -> None:
        self.types = types
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.made: list[onnx.TensorProto] = []

    def rewrite(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """What stands for a node; nothing if it is not one of these."""
        if (node.domain, node.op_type) == (_MS, "MatMulNBits"):
            weights, bias = self._n_bits(node), _input(node, 5)
        elif not node.domain and node.op_type in ("MatMul", "Gemm"):
            weights, bias = self._dequantised(node), _input(node, 2)
        else:
            return []
        data, result = node.input[0], node.output[0]
        shape = self.types.get(data, (0, None))[1]
        if weights is None or shape is None or self.types[data][0] != onnx.TensorProto.FLOAT or len(shape) < 2:
            return []
        if 0 in shape or shape[-1] != len(weights.values) or weights.values.size < LEAST_WEIGHTS:
            return []
        outputs = weights.values.shape[1]
        parts = {"weights": weights.values, "scale": weights.scale, "zero": weights.zero}
        inputs = [data, *(self._constant(result, part, array) for part, array in parts.items() if array is not None)]
        made = helper.make_node(
            "FewBits",
            inputs,
            [f"{result}/product" if bias else result],
            node.name,
            domain=PROGRAMS,
            bits=weights.bits,
            **type_attributes((onnx.TensorProto.FLOAT, (*shape[:-1], outputs))),
        )
        return [made, *([helper.make_node("Add", [made.output[0], bias], [result], f"{result}/bias")] if bias else [])]

    def _constant(self, result: str, part: str, array: Array) -> str:
        self.made.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{result}/{part}"))
        return str(self.made[-1].name)

    def _array(self, name: str) -> Array | None:
        """A constant's numbers; those of 4 bits as 8."""
        if name not in self.constants:
            return None
        array = numpy_helper.to_array(self.constants[name])
        bits = _BITS.get(self.constants[name].data_type)
        return array.astype(np.int16) if bits else array

    def _dequantised(self, node: onnx.NodeProto) -> _Weights | None:
        attributes = attributes_of(node)
        plain = (attributes.get("alpha", 1.0), attributes.get("beta", 1.0), attributes.get("transA", 0)) == (1, 1, 0)
        source, data = self.producers.get(node.input[1]), self.producers.get(node.input[0])
        turned = bool(attributes.get("transB", 0))
        if source is not None and source.op_type == "Transpose" and not source.domain:
            turned, source = not turned, self.producers.get(source.input[0])
        if not plain or not _is_dequantize(source) or _is_dequantize(data):
            return None
        assert source is not None
        values, scale, zero = (self._array(_input(source, place)) for place in range(3))
        if values is None or scale is None or values.ndim != 2 or scale.dtype != np.float32:
            return None
        if _input(source, 2) and zero is None:
            return None
        bits = _BITS.get(self.constants[source.input[0]].data_type)
        given = attributes_of(source)
        if bits is None:
            return None
        spread = [_spread(part, values.shape, given) for part in (scale, zero)]
        if turned:
            values, spread = values.T, [part.T if part is not None else None for part in spread]
        signed = self.constants[source.input[0]].data_type in (onnx.TensorProto.INT8, onnx.TensorProto.INT4)
        if spread[0] is None:
            return None
        return _shared(values, spread[0], spread[1], bits, signed)

    def _n_bits(self, node: onnx.NodeProto) -> _Weights | None:
        """Weights [O, blocks, bytes], low bits first; the zero points are packed by row too."""
        attributes = attributes_of(node)
        outputs, inputs, block = (int(attributes[name]) for name in ("N", "K", "block_size"))
        bits, blocks = int(attributes.get("bits", 4)), -(-inputs // block)
        packed, scale, zero = (self._array(_input(node, place)) for place in (1, 2, 3))
        if bits not in (4, 8) or _input(node, 4) or packed is None or scale is None or scale.dtype != np.float32:
            return None
        if _input(node, 3) and (zero is None or zero.dtype != np.int16):
            return None
        values = _unpack(packed, bits, outputs)[:, :inputs]
        zeros = None if zero is None else _unpack(zero, bits, outputs)[:, :blocks]
        if zeros is None:
            zeros = np.full((outputs, blocks), 1 << (bits - 1), np.int16)
        columns = np.arange(inputs) // block
        return _shared(values.T, scale.reshape(outputs, blocks)[:, columns].T, zeros[:, columns].T, bits, False)


def _shared(values: Array, scale: Array, zero: Array | None, bits: int, signed: bool) -> _Weights | None:
    """Weights with scales and zero points for each, given once for those that share them."""
    inputs = len(values)
    same = np.ones(inputs, bool)
    for part in (scale, zero):
        if part is not None:
            same[1:] &= (part[1:] == part[:-1]).all(axis=1)
    block = math.gcd(inputs, *(int(start) for start in np.flatnonzero(~same)))
    if block < _LEAST_BLOCK or block % 2:
        return None
    middle = 0 if signed else 1 << (bits - 1)
    zeros = (zero[::block] if zero is not None else np.zeros_like(scale[::block])).astype(np.int16) - middle
    return _Weights(
        (values - middle).astype(np.int8),
        np.ascontiguousarray(scale[::block], np.float32),
        zeros.astype(np.int8) if zeros.any() else None,
        bits,
    )


def _spread(part: Array | None, shape: tuple[int, ...], attributes: Mapping[str, Any]) -> Array | None:
    """Scales or zero points for each weight."""
    if part is None:
        return None
    axis, block = int(attributes.get("axis", 1)), int(attributes.get("block_size", 0))
    if part.size == 1:
        return np.broadcast_to(part.reshape(1, 1), shape)
    if block:
        return np.repeat(part, block, axis=axis)[: shape[0], : shape[1]]
    return np.broadcast_to(part.reshape((-1, 1) if axis % 2 == 0 else (1, -1)), shape)


def _unpack(packed: Array, bits: int, rows: int) -> Array:
    """Bytes → their numbers, [rows, numbers]."""
    flat = packed.reshape(rows, -1)
    return flat if bits == 8 else np.stack([flat & 15, flat >> 4], axis=-1).reshape(rows, -1)


def _is_dequantize(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "DequantizeLinear" and node.domain in ("", _MS)


def _input(node: onnx.NodeProto, place: int) -> str:
    return str(node.input[place]) if len(node.input) > place else ""
