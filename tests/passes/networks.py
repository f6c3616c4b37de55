"""Blocks of well-known networks, whose concatenations, slices and paddings need no copies."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from tests.kernels.cases_shape import i64
from tests.kernels.grid import Array, Case, floats


class Network:
    """A graph of one input `x`, node by node; values are NCHW."""

    def __init__(self, name: str, *shape: int) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: dict[str, Array] = {"x": floats(name, *shape)}
        self.constants: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {"x": shape}

    def add(self, op: str, inputs: list[str], shape: tuple[int, ...], outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"{op.lower()}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        self.shapes |= dict.fromkeys(names, shape)
        return names

    def constant(self, array: Array) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = array
        return name

    def relu(self, x: str) -> str:
        return self.add("Relu", [x], self.shapes[x])[0]

    def join(self, op: str, a: str, b: str) -> str:
        return self.add(op, [a, b], self.shapes[a])[0]

    def conv(self, x: str, channels: int, kernel: int = 1, pad: int | None = None, relu: bool = True) -> str:
        """A convolution that keeps the image's size, unless `pad` says otherwise."""
        n, inputs, height, width = self.shapes[x]
        pad = kernel // 2 if pad is None else pad
        weight = floats(f"{self.name}{len(self.nodes)}", channels, inputs, kernel, kernel) / (kernel * inputs**0.5)
        bias = floats(f"b{self.name}{len(self.nodes)}", channels)
        shape = (n, channels, height + 2 * pad - kernel + 1, width + 2 * pad - kernel + 1)
        (made,) = self.add("Conv", [x, self.constant(weight), self.constant(bias)], shape, pads=[pad] * 4)
        return self.relu(made) if relu else made

    def pool(self, x: str) -> str:
        return self.add("MaxPool", [x], self.shapes[x], kernel_shape=[3, 3], pads=[1, 1, 1, 1])[0]

    def concat(self, *parts: str, axis: int = 1) -> str:
        shape = list(self.shapes[parts[0]])
        shape[axis] = sum(self.shapes[part][axis] for part in parts)
        return self.add("Concat", list(parts), tuple(shape), axis=axis)[0]

    def pad(self, x: str, top: int, left: int, bottom: int, right: int) -> str:
        n, channels, height, width = self.shapes[x]
        widths = self.constant(i64(0, 0, top, left, 0, 0, bottom, right))
        return self.add("Pad", [x, widths], (n, channels, top + height + bottom, left + width + right))[0]

    def shuffle(self, x: str) -> str:
        """ShuffleNet's, of two groups."""
        n, channels, height, width = shape = self.shapes[x]
        apart, flat = (n, 2, channels // 2, height, width), self.constant(i64(*shape))
        (y,) = self.add("Reshape", [x, self.constant(i64(*apart))], apart)
        (y,) = self.add("Transpose", [y], apart, perm=[0, 2, 1, 3, 4])
        return self.add("Reshape", [y, flat], shape)[0]

    def split(self, x: str, *channels: int) -> list[str]:
        n, _, *space = self.shapes[x]
        made = self.add("Split", [x, self.constant(i64(*channels))], (), len(channels), axis=1)
        self.shapes |= {name: (n, count, *space) for name, count in zip(made, channels, strict=True)}
        return made

    def case(self, *outputs: str, tolerance: float = 1e-4) -> Case:
        return Case(self.name, self.nodes, self.inputs, self.constants, outputs, tolerance=tolerance)


def fire() -> Case:
    """SqueezeNet's: Iandola et al., 2016 (arXiv:1602.07360)."""
    net = Network("fire", 1, 8, 7, 9)
    squeezed = net.conv("x", 4)
    expanded = net.concat(net.conv(squeezed, 16), net.conv(squeezed, 20, 3))
    return net.case(net.conv(net.conv(expanded, 8), 24, 3))


def inception() -> Case:
    """GoogLeNet's: Szegedy et al., 2015 (arXiv:1409.4842); what it joins is padded for the next convolution."""
    net = Network("inception", 1, 8, 7, 7)
    x = net.conv("x", 16)
    wide = net.conv(net.conv(x, 16), 24, 3)
    wider = net.conv(net.conv(x, 16), 8, 5)
    joined = net.concat(net.conv(x, 16), wide, wider, net.conv(net.pool(x), 9))
    return net.case(net.conv(joined, 11, 3))


def pyramid() -> Case:
    """YOLO's, of poolings of poolings."""
    net = Network("pyramid", 1, 8, 6, 7)
    made = [net.conv("x", 16)]
    for _ in range(3):
        made.append(net.pool(made[-1]))
    return net.case(net.conv(net.concat(*made), 12))


def dense() -> Case:
    """DenseNet's: Huang et al., 2017 (arXiv:1608.06993); each layer reads the results of all before it."""
    net = Network("dense", 1, 8, 6, 6)
    features = [net.conv("x", 16)]
    for _ in range(4):
        joined = features[0] if len(features) == 1 else net.concat(*features)
        features.append(net.conv(net.conv(joined, 12), 8, 3))
    return net.case(net.conv(net.concat(*features), 10))


def residual() -> Case:
    """ResNet's: He et al., 2016 (arXiv:1512.03385)."""
    net = Network("residual", 1, 8, 9, 9)
    x = net.conv("x", 16)
    for _ in range(2):
        x = net.relu(net.join("Add", net.conv(net.conv(x, 16, 3), 16, 3, relu=False), x))
    return net.case(net.conv(x, 5))


def halves() -> Case:
    """YOLOv8's, of which one half goes through convolutions, and all that was made is joined."""
    net = Network("halves", 1, 8, 8, 8)
    first, second = net.split(net.conv("x", 32), 16, 16)
    made = [first, second]
    for _ in range(2):
        made.append(net.conv(net.conv(made[-1], 16, 3), 16, 3))
    return net.case(net.conv(net.concat(*made), 24))
