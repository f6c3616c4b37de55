"""Quantised graphs in integers: products of 8-bit tensors with 32-bit sums, floats only beside them.

A product of DequantizeLinear(x) and DequantizeLinear(w), w constant, becomes ConvInteger or MatMulInteger, an integer
bias, and one multiplication by the scales; means become sums of integers. What follows element by element, a
QuantizeLinear at the end, joins the product's kernel, so that the tensors between kernels have 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .graph import attributes_of, replace_nodes
from .integer_recurrent import recurrent
from .integer_transposed import transposed
from .quantised import EIGHT_BITS, RECURRENT, Array, Step, Values
from .shapes import value_table

# The most terms of a sum: 255 * 128 each, within 31 bits.
_MOST_TERMS = (2**31 - 1) // (255 * 128)


def use_integers(model: onnx.ModelProto) -> bool:
    """Rewrites the graph until no rule applies; returns whether anything changed."""
    graph = model.graph
    if not any(node.op_type == "DequantizeLinear" and not node.domain for node in graph.node):
        return False
    rewriter = Rewriter(graph)
    return rewriter.run()


class Rewriter:
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
            "AveragePool": self._average_pool,
            "Conv": self._conv,
            "ConvTranspose": lambda node: transposed(self, node),
            "Gemm": self._gemm,
            "GlobalAveragePool": self._global_pool,
            "MatMul": self._matmul,
            "ReduceMean": self._mean,
            **dict.fromkeys(RECURRENT, lambda node: recurrent(self, node)),
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
        if weight is None or not self.fits(math.prod(weight[1:])) or len(weight) > 5:
            return False
        operands = self.operands(node, 0)
        if operands is None:
            return False
        (x, xs), (w, ws) = operands
        column = [-1] + [1] * (len(weight) - 2)
        zeros = [self.zero(node, "x", xs, xs.zero), self.zero(node, "w", ws, ws.zero)]
        given = {name: value for name, value in attributes_of(node).items() if name != "kernel_shape"}
        acc = self.add(node, "sums", "ConvInteger", [x, w, *zeros], kernel_shape=list(weight[2:]), **given)
        self.finish(node, acc, xs.scale * ws.scale, node.input[2] if len(node.input) > 2 else "", column)
        return True

    def _matmul(self, node: onnx.NodeProto) -> bool:
        weight, data = (self.values.shape(name) for name in (node.input[1], node.input[0]))
        if weight is None or data is None or len(weight) != 2 or len(data) < 2 or not self.fits(weight[0]):
            return False
        operands = self.operands(node, 1)
        if operands is None:
            return False
        (x, xs), (w, ws) = operands
        zeros = [self.zero(node, "x", xs, xs.zero), self.zero(node, "w", ws, ws.zero)]
        acc = self.add(node, "sums", "MatMulInteger", [x, w, *zeros])
        self.finish(node, acc, xs.scale * ws.scale, "", [-1])
        return True

    def _gemm(self, node: onnx.NodeProto) -> bool:
        weight, attributes = self.values.shape(node.input[1]), attributes_of(node)
        across = bool(attributes.get("transB", 0))
        if weight is None or not self.fits(weight[across]):
            return False
        operands = self.operands(node, 0 if across else 1)
        if operands is None:
            return False
        (x, xs), (w, ws) = operands
        if attributes.get("transA", 0):
            x = self.add(node, "rows", "Transpose", [x], perm=[1, 0])
        if across:
            w = self.add(node, "columns", "Transpose", [w], perm=[1, 0])
        zeros = [self.zero(node, "x", xs, xs.zero), self.zero(node, "w", ws, ws.zero)]
        acc = self.add(node, "sums", "MatMulInteger", [x, w, *zeros])
        scale = xs.scale * ws.scale * np.float32(attributes.get("alpha", 1.0))
        bias, beta = node.input[2] if len(node.input) > 2 else "", attributes.get("beta", 1.0)
        if bias and beta != 1.0:
            bias = self.add(node, "scaled", "Mul", [bias, self.constant(node, "beta", np.float32(beta))])
        self.finish(node, acc, scale, bias, [-1])
        return True

    def _global_pool(self, node: onnx.NodeProto) -> bool:
        shape = self.values.shape(node.input[0])
        return shape is not None and self._whole_mean(node, shape, list(range(2, len(shape))), 1)

    def _mean(self, node: onnx.NodeProto) -> bool:
        """Of what is quantised again at once; other means are parts of normalisations, which have kernels."""
        readers, shape = self.values.readers.get(node.output[0], []), self.values.shape(node.input[0])
        if shape is None or any(reader.op_type != "QuantizeLinear" for reader in readers):
            return False
        attributes = attributes_of(node)
        axes = self.values.constant(node.input[1]) if len(node.input) > 1 else np.array(attributes.get("axes", []))
        if axes is None or not axes.size:
            return False
        along = sorted({int(axis) % len(shape) for axis in axes})
        return self._whole_mean(node, shape, along, attributes.get("keepdims", 1))

    def _whole_mean(self, node: onnx.NodeProto, shape: tuple[int, ...], axes: list[int], keepdims: int) -> bool:
        """A mean along axes, as the sum of integers that it is."""
        found, count = self.values.dequantised(node.input[0]), math.prod(shape[axis] for axis in axes)
        if found is None or not found[1].single or found[1].elem_type not in EIGHT_BITS or not 0 < count < 2**23:
            return False
        x, step = found
        wide = self.add(node, "wide", "Cast", [x], to=TensorProto.INT32)
        along = self.constant(node, "axes", np.array(axes, np.int64))
        acc = self.add(node, "sums", "ReduceSum", [wide, along], keepdims=keepdims)
        if step.zero:
            zeros = self.constant(node, "zeros", np.int32(-int(step.zero) * count))
            acc = self.add(node, "shifted", "Add", [acc, zeros])
        self.finish(node, acc, step.scale / np.float32(count), "", [])
        return True

    def _average_pool(self, node: onnx.NodeProto) -> bool:
        """Sums of windows as a convolution by ones, one of each channel."""
        attributes, shape = attributes_of(node), self.values.shape(node.input[0])
        found, made = self.values.dequantised(node.input[0]), self.values.shape(node.output[0])
        if shape is None or made is None or found is None or not found[1].single or len(shape) > 5:
            return False
        mode, axes = attributes.get("auto_pad", b"NOTSET"), len(shape) - 2
        pads = list(attributes.get("pads", [0] * 2 * axes)) if mode == b"NOTSET" else [0] * 2 * axes
        kernel = list(attributes["kernel_shape"])
        if found[1].elem_type not in EIGHT_BITS or attributes.get("ceil_mode", 0) or mode not in (b"NOTSET", b"VALID"):
            return False
        if kernel == list(shape[2:]) and not any(pads):
            return self._whole_mean(node, shape, list(range(2, len(shape))), 1)
        (x, step), channels = found, shape[1]
        steps = {name: list(attributes.get(name, [1] * axes)) for name in ("strides", "dilations")}
        counts = np.ones((1, 1), np.float32)
        for axis, size in enumerate(shape[2:]):
            begins = np.arange(made[2 + axis]) * steps["strides"][axis] - pads[axis]
            taps = begins[:, None] + np.arange(kernel[axis]) * steps["dilations"][axis]
            inside = ((taps >= 0) & (taps < size)) | bool(attributes.get("count_include_pad", 0))
            counts = counts[..., None] * inside.sum(axis=1, dtype=np.float32)
        ones = self.constant(node, "ones", np.ones((channels, 1, *kernel), np.int8))
        inputs = [x, ones, self.zero(node, "x", step, step.zero)]
        acc = self.add(node, "sums", "ConvInteger", inputs, kernel_shape=kernel, group=channels, pads=pads, **steps)
        same = bool((counts == counts.flat[0]).all())
        self.finish(node, acc, step.scale / (counts.flat[0] if same else counts), "", list(counts.shape))
        return True

    def operands(self, node: onnx.NodeProto, axis: int) -> tuple[tuple[str, Step], tuple[str, Step]] | None:
        """The 8-bit data and the constant 8-bit weights of a product, of which `axis` is that of the results."""
        data, weight = (self.values.dequantised(name) for name in node.input[:2])
        if data is None or weight is None or weight[0] not in self.values.constants:
            return None
        (_, xs), (_, ws) = data, weight
        if not xs.single or xs.elem_type not in EIGHT_BITS or ws.elem_type not in EIGHT_BITS:
            return None
        return (data, weight) if ws.single or ws.axis == axis else None

    def finish(
        self,
        node: onnx.NodeProto,
        acc: str,
        scale: Array,
        bias: str,
        column: list[int],
        part: str = "",
        channels: Array | None = None,
    ) -> str:
        """The node's result, or another part, from its sums: their bias, in integers if it is one, and their scale.

        Args:
            channels: which bias and scale belong to each channel of the sums, if not those of the same place.
        """
        whole = self._whole_bias(bias, scale) if bias else None
        if channels is not None:
            whole = whole[channels] if whole is not None else None
            scale = scale[channels] if scale.ndim else scale
        if whole is not None:
            acc = self.add(node, "biased", "Add", [acc, self.constant(node, "bias", whole.reshape(column))])
        real = self.add(node, "real", "Cast", [acc], to=TensorProto.FLOAT)
        step = self.constant(node, "step", scale.reshape(column) if scale.ndim else scale)
        if not bias or whole is not None:
            return self.add(node, part, "Mul", [real, step])
        product = self.add(node, "product", "Mul", [real, step])
        if channels is not None:
            bias = self.add(node, "summands", "Gather", [bias, self.constant(node, "channels", channels)])
        if len(column) > 1:
            bias = self.add(node, "bias", "Reshape", [bias, self.constant(node, "column", np.array(column))])
        return self.add(node, part, "Add", [product, bias])

    def fits(self, terms: int) -> bool:
        """Whether 32 bits hold a sum of so many products."""
        return terms <= _MOST_TERMS

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

    def zero(self, node: onnx.NodeProto, part: str, step: Step, zero: Array) -> str:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(step.elem_type)
        return self.constant(node, f"{part}_zero", np.asarray(zero).astype(dtype))

    def constant(self, node: onnx.NodeProto, part: str, value: Any) -> str:
        name = f"{node.output[0]}/{part}"
        tensor = numpy_helper.from_array(np.asarray(value), name)
        self.graph.initializer.append(tensor)
        return name

    def add(self, node: onnx.NodeProto, part: str, operator: str, inputs: list[str], **attributes: Any) -> str:
        """A node in the place of another, whose result it makes if `part` is empty."""
        name = f"{node.output[0]}/{part}" if part else node.output[0]
        label = node.name if operator in ("ConvInteger", "MatMulInteger") else ""
        self.made.append(onnx.helper.make_node(operator, inputs, [name], name=label or name, **attributes))
        return name
