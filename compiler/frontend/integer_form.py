"""Quantised graphs in integers: products of 8-bit tensors with 32-bit sums, floats only beside them.

A product of DequantizeLinear(x) and DequantizeLinear(w), w constant, becomes ConvInteger or MatMulInteger, an integer
bias, and one multiplication by the scales. What follows it element by element, a QuantizeLinear at the end, joins its
kernel, so that the tensors between kernels have 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .graph import replace_nodes
from .quantised import EIGHT_BITS, Array, Step, Values, attributes_of
from .shapes import value_table

# The most terms of a sum: 255 * 128 each, within 31 bits.
_MOST_TERMS = (2**31 - 1) // (255 * 128)


def use_integers(model: onnx.ModelProto) -> bool:
    """Rewrites the graph until no rule applies; returns whether anything changed."""
    graph = model.graph
    if not any(node.op_type == "DequantizeLinear" and not node.domain for node in graph.node):
        return False
    rewriter = _Rewriter(graph)
    return rewriter.run()


class _Rewriter:
    """One pass over a graph in execution order.

    Attributes:
        made: the nodes so far.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.values = Values(graph, value_table(graph))
        self.made: list[onnx.NodeProto] = []

    def run(self) -> bool:
        rules: dict[str, Callable[[onnx.NodeProto], bool]] = {
            "Conv": self._conv,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
        }
        changed = False
        for node in self.graph.node:
            rule = rules.get(node.op_type) if not node.domain else None
            if rule is not None and rule(node):
                changed = True
            else:
                self.made.append(node)
        if changed:
            replace_nodes(self.graph, self.made)
        return changed

    def _conv(self, node: onnx.NodeProto) -> bool:
        weight = self.values.shape(node.input[1])
        if weight is None or math.prod(weight[1:]) > _MOST_TERMS or len(weight) > 5:
            return False
        operands = self._operands(node, 0)
        if operands is None:
            return False
        (x, xs), (w, ws) = operands
        column = [-1] + [1] * (len(weight) - 2)
        zeros = [self._zero(node, "x", xs, xs.zero), self._zero(node, "w", ws, ws.zero)]
        given = {name: value for name, value in attributes_of(node).items() if name != "kernel_shape"}
        acc = self._add(node, "sums", "ConvInteger", [x, w, *zeros], kernel_shape=list(weight[2:]), **given)
        self._finish(node, acc, xs.scale * ws.scale, node.input[2] if len(node.input) > 2 else "", column)
        return True

    def _matmul(self, node: onnx.NodeProto) -> bool:
        weight, data = (self.values.shape(name) for name in (node.input[1], node.input[0]))
        if weight is None or data is None or len(weight) != 2 or len(data) < 2 or weight[0] > _MOST_TERMS:
            return False
        operands = self._operands(node, 1)
        if operands is None:
            return False
        (x, xs), (w, ws) = operands
        zeros = [self._zero(node, "x", xs, xs.zero), self._zero(node, "w", ws, ws.zero)]
        acc = self._add(node, "sums", "MatMulInteger", [x, w, *zeros])
        self._finish(node, acc, xs.scale * ws.scale, "", [-1])
        return True

    def _gemm(self, node: onnx.NodeProto) -> bool:
        weight, attributes = self.values.shape(node.input[1]), attributes_of(node)
        across = bool(attributes.get("transB", 0))
        if weight is None or weight[across] > _MOST_TERMS:
            return False
        operands = self._operands(node, 0 if across else 1)
        if operands is None:
            return False
        (x, xs), (w, ws) = operands
        if attributes.get("transA", 0):
            x = self._add(node, "rows", "Transpose", [x], perm=[1, 0])
        if across:
            w = self._add(node, "columns", "Transpose", [w], perm=[1, 0])
        zeros = [self._zero(node, "x", xs, xs.zero), self._zero(node, "w", ws, ws.zero)]
        acc = self._add(node, "sums", "MatMulInteger", [x, w, *zeros])
        scale = xs.scale * ws.scale * np.float32(attributes.get("alpha", 1.0))
        bias, beta = node.input[2] if len(node.input) > 2 else "", attributes.get("beta", 1.0)
        if bias and beta != 1.0:
            bias = self._add(node, "scaled", "Mul", [bias, self._constant(node, "beta", np.float32(beta))])
        self._finish(node, acc, scale, bias, [-1])
        return True

    def _operands(self, node: onnx.NodeProto, axis: int) -> tuple[tuple[str, Step], tuple[str, Step]] | None:
        """The 8-bit data and the constant 8-bit weights of a product, of which `axis` is that of the results."""
        data, weight = (self.values.dequantised(name) for name in node.input[:2])
        if data is None or weight is None or weight[0] not in self.values.constants:
            return None
        (_, xs), (_, ws) = data, weight
        if not xs.single or xs.elem_type not in EIGHT_BITS or ws.elem_type not in EIGHT_BITS:
            return None
        return (data, weight) if ws.single or ws.axis == axis else None

    def _finish(self, node: onnx.NodeProto, acc: str, scale: Array, bias: str, column: list[int]) -> None:
        """The node's result from its sums: their bias, in integers if it is one, and their scale."""
        whole = self._whole_bias(bias, scale) if bias else None
        if whole is not None:
            acc = self._add(node, "biased", "Add", [acc, self._constant(node, "bias", whole.reshape(column))])
        real = self._add(node, "real", "Cast", [acc], to=TensorProto.FLOAT)
        step = self._constant(node, "step", scale.reshape(column) if scale.ndim else scale)
        if not bias or whole is not None:
            self._add(node, "", "Mul", [real, step])
            return
        product = self._add(node, "product", "Mul", [real, step])
        if len(column) > 1:
            bias = self._add(node, "bias", "Reshape", [bias, self._constant(node, "column", np.array(column))])
        self._add(node, "", "Add", [product, bias])

    def _whole_bias(self, bias: str, scale: Array) -> Array | None:
        """A bias that counts steps of the sums, one for each channel; None of any other."""
        found = self.values.dequantised(bias)
        value = self.values.constant(found[0]) if found else None
        if found is None or value is None or found[1].elem_type != TensorProto.INT32 or value.ndim != 1:
            return None
        step = found[1]
        matches = scale.ndim <= step.scale.ndim or step.scale.ndim == 0
        if not matches or step.zero.any() or not np.allclose(step.scale, scale, rtol=1e-6, atol=0):
            return None
        return value

    def _zero(self, node: onnx.NodeProto, part: str, step: Step, zero: Array) -> str:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(step.elem_type)
        return self._constant(node, f"{part}_zero", np.asarray(zero).astype(dtype))

    def _constant(self, node: onnx.NodeProto, part: str, value: Any) -> str:
        name = f"{node.output[0]}/{part}"
        tensor = numpy_helper.from_array(np.asarray(value), name)
        self.graph.initializer.append(tensor)
        return name

    def _add(self, node: onnx.NodeProto, part: str, operator: str, inputs: list[str], **attributes: Any) -> str:
        """A node in the place of another, whose result it makes if `part` is empty."""
        name = f"{node.output[0]}/{part}" if part else node.output[0]
        label = f"{node.name}/{part}" if part else node.name
        self.made.append(onnx.helper.make_node(operator, inputs, [name], name=label, **attributes))
        return name
