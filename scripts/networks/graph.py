"""Builds an ONNX graph layer by layer, with seeded random weights, as PyTorch's exporter writes it at opset 17.

That is: batch normalisation folded into its convolution, shapes and scalars from Constant nodes, activations that ONNX
lacks spelled out. Shapes are static; the product of a layer's sizes adds to `Graph.macs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]

OPSET = 17
IR_VERSION = 8  # of the opset's time, so that older readers take the file
RELU_GAIN = math.sqrt(2)  # weights scaled by it keep the variance through a ReLU (He et al., arXiv:1502.01852)
BIAS_SCALE = 0.03


@dataclass(frozen=True)
class Value:
    """A tensor of the graph."""

    name: str
    shape: tuple[int, ...]


class Graph:
    """An ONNX graph in the making; `macs` counts the multiply-adds of its convolutions and matrix products."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.macs = 0
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._scopes: list[str] = []
        self._used: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix of the names of what is added inside."""
        self._scopes.append(name)
        yield
        self._scopes.pop()

    def _unique(self, name: str) -> str:
        path = "/".join([*self._scopes, name])
        count = self._used[path] = self._used.get(path, -1) + 1
        return f"{path}_{count}" if count else path

    def input(self, name: str, shape: tuple[int, ...], dtype: int = TensorProto.FLOAT) -> Value:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return Value(name, shape)

    def node(self, op: str, *inputs: Value, shape: tuple[int, ...] | None = None, **attributes: Any) -> Value:
        """A node of one output; without `shape` it has the first input's."""
        name = self._unique(op)
        self._nodes.append(helper.make_node(op, [value.name for value in inputs], [name], name, **attributes))
        return Value(name, inputs[0].shape if shape is None else shape)

    def constant(self, value: Any, dtype: type = np.float32) -> Value:
        """The output of a Constant node."""
        array: Array = np.asarray(value, dtype)
        return self.node("Constant", shape=array.shape, value=numpy_helper.from_array(array))

    def weight(self, name: str, array: Array) -> Value:
        """An initializer."""
        name = self._unique(name)
        self._weights.append(numpy_helper.from_array(array, name))
        return Value(name, array.shape)

    def normal(self, name: str, shape: tuple[int, ...], scale: float, mean: float = 0) -> Value:
        """An initializer from a normal distribution."""
        values = self._random.standard_normal(shape, np.float32) * np.float32(scale) + np.float32(mean)
        return self.weight(name, values)

    # Layers with weights

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        gain: float = RELU_GAIN,
        padding: int | None = None,
        bias: bool = True,
    ) -> Value:
        """Convolution [N,C,H,W] → [N,channels,H',W'], by default padded so that stride 1 keeps the size."""
        n, depth, height, width = x.shape
        padding = kernel // 2 if padding is None else padding
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
        fan_in = depth // groups * kernel * kernel
        weights = [self.normal("weight", (channels, depth // groups, kernel, kernel), gain / math.sqrt(fan_in))]
        if bias:
            weights.append(self.normal("bias", (channels,), BIAS_SCALE))
        self.macs += n * channels * height * width * fan_in
        return self.node(
            "Conv",
            x,
            *weights,
            shape=(n, channels, height, width),
            dilations=[1, 1],
            group=groups,
            kernel_shape=[kernel, kernel],
            pads=[padding] * 4,
            strides=[stride, stride],
        )

    def batch_norm(self, x: Value) -> Value:
        """Batch normalisation as a node of its own, its statistics near those of a normalised input."""
        shape = x.shape[1:2]
        scale, bias = self.normal("scale", shape, 0.1, 1), self.normal("bias", shape, BIAS_SCALE)
        mean = self.normal("mean", shape, BIAS_SCALE)
        variance = self.weight("var", self._random.uniform(0.5, 1.5, shape).astype(np.float32))
        return self.node("BatchNormalization", x, scale, bias, mean, variance, epsilon=1e-5)

    def gemm(self, x: Value, features: int, gain: float = 1) -> Value:
        """torch.nn.Linear on a matrix: [N,C] → [N,features]."""
        rows, depth = x.shape
        weight = self.normal("weight", (features, depth), gain / math.sqrt(depth))
        bias = self.normal("bias", (features,), BIAS_SCALE)
        self.macs += rows * depth * features
        return self.node("Gemm", x, weight, bias, shape=(rows, features), alpha=1.0, beta=1.0, transB=1)

    def linear(self, x: Value, features: int, gain: float = 1) -> Value:
        """torch.nn.Linear on more than two axes: a product and a sum, [...,C] → [...,features]."""
        weight = self.normal("weight", (x.shape[-1], features), gain / math.sqrt(x.shape[-1]))
        return self.add(self.normal("bias", (features,), BIAS_SCALE), self.matmul(x, weight))

    def layer_norm(self, x: Value, epsilon: float) -> Value:
        """Over the last axis."""
        scale, bias = self.normal("weight", x.shape[-1:], 0.1, 1), self.normal("bias", x.shape[-1:], BIAS_SCALE)
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    # Arithmetic

    def add(self, a: Value, b: Value) -> Value:
        return self._binary("Add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self._binary("Sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self._binary("Mul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        return self._binary("Div", a, b)

    def _binary(self, op: str, a: Value, b: Value) -> Value:
        return self.node(op, a, b, shape=np.broadcast_shapes(a.shape, b.shape))

    def matmul(self, a: Value, b: Value) -> Value:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*batch, a.shape[-2], b.shape[-1])
        self.macs += math.prod(shape) * a.shape[-1]
        return self.node("MatMul", a, b, shape=shape)

    # Activations

    def relu(self, x: Value) -> Value:
        return self.node("Relu", x)

    def relu6(self, x: Value) -> Value:
        return self.node("Clip", x, self.constant(0.0), self.constant(6.0))

    def hard_swish(self, x: Value) -> Value:
        return self.node("HardSwish", x)

    def silu(self, x: Value) -> Value:
        return self.mul(x, self.node("Sigmoid", x))

    def gelu(self, x: Value) -> Value:
        """With the error function, as ONNX before opset 20 has to write it."""
        erf = self.node("Erf", self.div(x, self.constant(math.sqrt(2))))
        return self.mul(self.mul(x, self.add(erf, self.constant(1.0))), self.constant(0.5))

    # Shapes

    def reshape(self, x: Value, *shape: int) -> Value:
        """One of the sizes may be -1."""
        sizes = np.empty(x.shape, np.bool_).reshape(shape).shape
        return self.node("Reshape", x, self.constant(shape, np.int64), shape=sizes)

    def transpose(self, x: Value, *axes: int) -> Value:
        return self.node("Transpose", x, shape=tuple(x.shape[axis] for axis in axes), perm=axes)

    def concat(self, values: Sequence[Value], axis: int = 1) -> Value:
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self.node("Concat", *values, shape=tuple(shape), axis=axis)

    def split(self, x: Value, sizes: Sequence[int], axis: int = 1) -> list[Value]:
        name = self._unique("Split")
        names = [f"{name}.{index}" for index in range(len(sizes))]
        lengths = self.constant(sizes, np.int64)
        self._nodes.append(helper.make_node("Split", [x.name, lengths.name], names, name, axis=axis))
        shapes = ((*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes)
        return [Value(*pair) for pair in zip(names, shapes, strict=True)]

    def select(self, x: Value, index: int, axis: int) -> Value:
        """`x[index]` along the axis, which goes away."""
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        return self.node("Gather", x, self.constant(index, np.int64), shape=shape, axis=axis)

    def max_pool(self, x: Value, kernel: int, stride: int) -> Value:
        n, channels, height, width = x.shape
        padding = kernel // 2
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
        return self.node(
            "MaxPool",
            x,
            shape=(n, channels, height, width),
            ceil_mode=0,
            kernel_shape=[kernel, kernel],
            pads=[padding] * 4,
            strides=[stride, stride],
        )

    def global_pool(self, x: Value) -> Value:
        return self.node("GlobalAveragePool", x, shape=(*x.shape[:2], 1, 1))

    def flatten(self, x: Value) -> Value:
        return self.node("Flatten", x, shape=(x.shape[0], math.prod(x.shape[1:])), axis=1)

    def finish(self, **outputs: Value) -> onnx.ModelProto:
        """The checked model, its outputs float tensors of the given names."""
        renamed = {value.name: name for name, value in outputs.items()}
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [renamed.get(name, name) for name in names]
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, value.shape) for n, value in outputs.items()]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, infos, self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="standard_models", ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
