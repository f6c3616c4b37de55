"""Random networks of the blocks that real ones are made of, small and of ugly sizes, for compiling in any precision.

Unlike the graphs of `generate`, these are whole: weights keep the values' size, so that a network still says something
after rounding to 8 bits.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]

INPUT = "input"
_OPSET, _IR_VERSION = 20, 9
_LARGEST = 6000  # elements of what a block makes larger
_WIDE = 8000  # elements that a product may flatten
_CHANNELS = (1, 3, 3, 4, 5, 16, 17)
_SIZES = (1, 5, 7, 8, 13, 16, 20)


class Network:
    """A network under construction; `rng` decides everything.

    Attributes:
        value: the name of what was computed last.
        shape: its shape [batch, channels, height, width].
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._numbers = np.random.default_rng(rng.getrandbits(32))
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self.value = INPUT
        self.shape = (rng.choice((1, 1, 2, 3)), rng.choice(_CHANNELS), rng.choice(_SIZES), rng.choice(_SIZES))
        self._input_shape = self.shape

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        number = len(self._nodes)
        names = [f"v{number}_{place}" for place in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, name=f"{operator}{number}", **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.add(operator, *inputs, **attributes)[0]

    def constant(self, array: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def weights(self, *shape: int, inputs: int | None = None) -> str:
        """Of a layer that adds so many inputs up, by default all but the first axis."""
        count = inputs or int(np.prod(shape[1:]))
        return self.constant((1.2 / np.sqrt(count) * self._numbers.standard_normal(shape)).astype(np.float32))

    def uniform(self, low: float, high: float, *shape: int) -> str:
        return self.constant(self._numbers.uniform(low, high, shape).astype(np.float32))

    def conv(self, value: str, channels: int, made: int, kernel: int = 1, group: int = 1) -> str:
        """A convolution that keeps the size of odd kernels' images."""
        inputs = [value, self.weights(made, channels // group, kernel, kernel), self.uniform(-0.5, 0.5, made)]
        return self.one("Conv", *inputs, group=group, pads=[kernel // 2] * 4)

    def samples(self, count: int) -> Array:
        """Data for it [count, …], without the input's own first axis."""
        return self._numbers.standard_normal((count, *self._input_shape[1:])).astype(np.float32)

    def model(self, name: str) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        inputs = [value(INPUT, TensorProto.FLOAT, self._input_shape)]
        outputs = [value(self.value, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        imports = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model)
        return model


def network(seed: str) -> Network:
    """A function of its seed."""
    made = Network(random.Random(seed))
    for _ in range(made.rng.randint(2, 8)):
        made.rng.choice(_BLOCKS)(made)
    made.rng.choice(_HEADS)(made)
    if made.value == INPUT:
        made.value = made.one("Relu", INPUT)
    return made


def _activation(net: Network, value: str, channels: int) -> str:
    kind = net.rng.choice(_ACTIVATIONS)
    if kind == "Clip":
        low, high = net.rng.choice(((0, 6), (-1, 0.7)))
        return net.one("Clip", value, net.constant(np.float32(low)), net.constant(np.float32(high)))
    if kind == "PRelu":
        return net.one("PRelu", value, net.uniform(-0.2, 0.4, channels, 1, 1))
    if kind == "SiLU":
        return net.one("Mul", value, net.one("Sigmoid", value))
    if kind == "Gelu":
        return net.one("Gelu", value, approximate=net.rng.choice(("none", "tanh")))
    return net.one(kind, value) if kind else value


def _batch_norm(net: Network, value: str, channels: int) -> str:
    scale, bias, mean, variance = ((0.3, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.2, 2.0))
    constants = [net.uniform(*ends, channels) for ends in (scale, bias, mean, variance)]
    return net.one("BatchNormalization", value, *constants)


def _convolution(net: Network) -> None:
    batch, channels, *space = net.shape
    kernel, stride, dilation = net.rng.choice((1, 1, 1, 2, 3, 3, 3, 5, 7)), net.rng.choice((1, 1, 1, 2, 3)), 1
    if net.rng.random() < 0.2:
        dilation = 2
    kernels = [kernel, kernel] if net.rng.random() < 0.8 else net.rng.choice(([1, kernel], [kernel, 1]))
    made, group = net.rng.choice((channels, net.rng.randint(1, 40), 16, 24)), 1
    if (kind := net.rng.random()) < 0.3:
        made, group = channels * net.rng.choice((1, 1, 1, 2)), channels
    elif kind < 0.45:
        group = net.rng.choice([one for one in range(1, channels + 1) if channels % one == 0])
        made = group * max(1, made // group)
    pads = [(k - 1) * dilation // 2 for k in kernels * 2]
    if net.rng.random() < 0.3:
        pads = [net.rng.randint(0, pad + 1) for pad in pads]
    reach = [(k - 1) * dilation + 1 for k in kernels]
    sizes = [(s + pads[i] + pads[i + 2] - reach[i]) // stride + 1 for i, s in enumerate(space)]
    if min(sizes) < 1:
        return
    inputs = [net.value, net.weights(made, channels // group, *kernels)]
    inputs += [net.uniform(-0.5, 0.5, made)] if net.rng.random() < 0.8 else []
    steps = {"strides": [stride] * 2, "dilations": [dilation] * 2}
    value = net.one("Conv", *inputs, group=group, pads=pads, **steps)
    if net.rng.random() < 0.3:
        value = _batch_norm(net, value, made)
    net.value, net.shape = _activation(net, value, made), (batch, made, *sizes)


def _transposed(net: Network) -> None:
    batch, channels, *space = net.shape
    made, kernel, stride = net.rng.randint(1, 20), net.rng.choice((2, 3, 4)), net.rng.choice((1, 2))
    if int(np.prod(net.shape)) > _LARGEST:
        return
    pad = net.rng.choice((0, 1)) if kernel > 2 else 0
    sizes = [(size - 1) * stride - 2 * pad + kernel for size in space]
    if min(sizes) < 1:
        return
    weights = net.weights(channels, made, kernel, kernel, inputs=max(1, channels * kernel**2 // stride**2))
    value = net.one("ConvTranspose", net.value, weights, strides=[stride] * 2, pads=[pad] * 4)
    net.value, net.shape = _activation(net, value, made), (batch, made, *sizes)


def _pooling(net: Network) -> None:
    batch, channels, *space = net.shape
    kernel, stride = net.rng.choice((2, 3)), net.rng.choice((1, 2))
    pad = net.rng.choice((0, 1)) if kernel == 3 else 0
    if min(space) < kernel:
        return
    operator, attributes = net.rng.choice((("MaxPool", {}), ("AveragePool", {"count_include_pad": pad})))
    net.value = net.one(
        operator, net.value, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, **attributes
    )
    net.shape = (batch, channels, *((size + 2 * pad - kernel) // stride + 1 for size in space))


def _residual(net: Network) -> None:
    channels, inside = net.shape[1], net.rng.randint(1, 40)
    value = _activation(net, net.conv(net.value, channels, inside), inside)
    value = net.conv(value, inside, inside, 3, net.rng.choice((1, inside)))
    value = net.conv(_activation(net, value, inside), inside, channels)
    pair = [net.value, value] if net.rng.random() < 0.5 else [value, net.value]
    net.value = _activation(net, net.one(net.rng.choice(("Add", "Add", "Mul", "Sub", "Max")), *pair), channels)


def _concatenation(net: Network) -> None:
    batch, channels, *space = net.shape
    parts, made = [], 0
    if net.rng.random() < 0.5:
        parts, made = [net.value], channels
    for _ in range(net.rng.randint(1, 3)):
        own = net.rng.randint(1, 20)
        parts.append(_activation(net, net.conv(net.value, channels, own, net.rng.choice((1, 3))), own))
        made += own
    net.value, net.shape = net.one("Concat", *parts, axis=1), (batch, made, *space)


def _split_and_shuffle(net: Network) -> None:
    batch, channels, *space = net.shape
    if channels < 2:
        return
    first = net.rng.randint(1, channels - 1)
    left, right = net.add("Split", net.value, net.integers(first, channels - first), outputs=2, axis=1)
    right = _activation(net, net.conv(right, channels - first, channels - first), channels - first)
    net.value = net.one("Concat", *((left, right) if net.rng.random() < 0.5 else (right, left)), axis=1)
    if channels % 2 == 0:
        apart = net.one("Reshape", net.value, net.integers(batch, 2, channels // 2, *space))
        moved = net.one("Transpose", apart, perm=[0, 2, 1, 3, 4])
        net.value = net.one("Reshape", moved, net.integers(*net.shape))


def _squeeze_and_excite(net: Network) -> None:
    channels = net.shape[1]
    inside = max(1, channels // 4)
    value = net.one("Relu", net.conv(net.one("GlobalAveragePool", net.value), channels, inside))
    gate = net.one(net.rng.choice(("Sigmoid", "HardSigmoid")), net.conv(value, inside, channels))
    net.value = net.one("Mul", net.value, gate)


def _resize(net: Network) -> None:
    batch, channels, *space = net.shape
    if int(np.prod(net.shape)) > _LARGEST:
        return
    scale = net.rng.choice((2.0, 2.0, 1.5))
    if net.rng.random() < 0.5:
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    else:
        places = net.rng.choice(("asymmetric", "half_pixel", "align_corners"))
        how = {"mode": "linear", "coordinate_transformation_mode": places}
    net.value = net.one("Resize", net.value, "", net.constant(np.array([1, 1, scale, scale], np.float32)), **how)
    net.shape = (batch, channels, *(int(size * scale) for size in space))


def _pad(net: Network) -> None:
    batch, channels, *space = net.shape
    before, after = ([net.rng.randint(0, 2) for _ in space] for _ in range(2))
    mode = net.rng.choice(("constant", "edge"))
    net.value = net.one("Pad", net.value, net.integers(0, 0, *before, 0, 0, *after), mode=mode)
    net.shape = (batch, channels, *(size + a + b for size, a, b in zip(space, before, after, strict=True)))


def _affine(net: Network) -> None:
    channels = net.shape[1]
    kind = net.rng.choice(("norm", "channels", "scalar"))
    if kind == "norm":
        net.value = _activation(net, _batch_norm(net, net.value, channels), channels)
    elif kind == "channels":
        net.value = net.one(net.rng.choice(("Add", "Mul")), net.value, net.uniform(0.2, 1.5, channels, 1, 1))
    else:
        net.value = net.one(net.rng.choice(("Add", "Mul", "Sub", "Div")), net.value, net.uniform(0.3, 2.0))


def _nothing(net: Network) -> None:
    """The last feature map is the result."""


def _classifier(net: Network) -> None:
    channels, made = net.shape[1], net.rng.randint(1, 20)
    value = net.one("Flatten", net.one("GlobalAveragePool", net.value))
    net.value = net.one("Gemm", value, net.weights(made, channels), net.uniform(-1, 1, made), transB=1)
    if net.rng.random() < 0.5:
        net.value = net.one("Softmax", net.value, axis=-1)


def _perceptron(net: Network) -> None:
    inputs, inside = int(np.prod(net.shape[1:])), net.rng.randint(1, 30)
    if inputs > _WIDE:
        return
    value = net.one("MatMul", net.one("Flatten", net.value), net.weights(inputs, inside, inputs=inputs))
    value = net.one("MatMul", net.one("Relu", value), net.weights(inside, 7, inputs=inside))
    net.value = net.one("Add", value, net.uniform(-1, 1, 7))


def _classes_of_pixels(net: Network) -> None:
    net.value = net.one("Softmax", net.value, axis=1)


def _tokens(net: Network) -> None:
    """A feed-forward layer of a transformer."""
    batch, channels, height, width = net.shape
    rows = net.one("Reshape", net.value, net.integers(batch, channels, height * width))
    value = net.one("Transpose", rows, perm=[0, 2, 1])
    scale, bias = net.uniform(0.5, 1.5, channels), net.uniform(-0.5, 0.5, channels)
    inside, within = 2 * channels + 1, net.one("LayerNormalization", value, scale, bias)
    within = net.one("MatMul", within, net.weights(channels, inside, inputs=channels))
    within = net.one("Gelu", net.one("Add", within, net.uniform(-0.5, 0.5, inside)))
    net.value = net.one("Add", value, net.one("MatMul", within, net.weights(inside, channels, inputs=inside)))


_ACTIVATIONS = (
    "", "", "Relu", "Relu", "Relu", "Clip", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "SiLU", "LeakyRelu",
    "PRelu", "Tanh", "Gelu", "Elu", "Mish", "Softplus", "Abs",
)  # fmt: skip

_Block = Callable[[Network], None]
_BLOCKS: tuple[_Block, ...] = (
    _convolution, _convolution, _convolution, _convolution, _transposed, _pooling, _residual, _residual,
    _concatenation, _split_and_shuffle, _squeeze_and_excite, _resize, _pad, _affine,
)  # fmt: skip
_HEADS: tuple[_Block, ...] = (_nothing, _classifier, _classifier, _perceptron, _classes_of_pixels, _tokens)
