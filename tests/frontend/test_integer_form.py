"""Quantised graphs run in integers: which nodes are left, and results within a step of onnxruntime's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.frontend.quantised import is_quantised
from compiler.runtime.loader import Model
from compiler.verify.reference import run_reference
from tests.frontend.checks import prepared
from tests.models import model, node, value

RNG = np.random.default_rng(7)


class Quantised:
    """A model of Q/DQ pairs, written operator by operator.

    Attributes:
        steps: of what is returned.
    """

    def __init__(self, elem: str = "uint8") -> None:
        self.elem = elem
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}
        self.steps: dict[str, float] = {}

    def constant(self, array: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(node(operator, " ".join(inputs), name, **attributes))
        return name

    def quantise(self, x: str, scale: float, zero: int | None = None, elem: str | None = None) -> str:
        """x through a Q/DQ pair."""
        elem = elem or self.elem
        zero = (117 if elem == "uint8" else -9) if zero is None else zero
        pair = self.constant(np.float32(scale)), self.constant(np.asarray(zero, elem))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *pair), *pair)

    def weights(self, shape: tuple[int, ...], elem: str = "int8", axis: int | None = None, zero: int = 0) -> str:
        """Random constants behind a DequantizeLinear, with a step for each place along `axis`."""
        limits = np.iinfo(elem)
        data = self.constant(RNG.integers(limits.min, limits.max, shape, elem, endpoint=True))
        size = () if axis is None else (shape[axis],)
        scale = self.constant(RNG.uniform(1e-3, 3e-3, size).astype(np.float32))
        zeros = self.constant(np.full(size, zero, elem))
        self.weight_scale = self.constants[scale]
        return self.op("DequantizeLinear", data, scale, zeros, **({} if axis is None else {"axis": axis}))

    def bias(self, size: int, scale: float) -> str:
        steps = np.broadcast_to(np.float32(scale) * self.weight_scale, (size,)).astype(np.float32)
        data = self.constant(RNG.integers(-9000, 9000, size, np.int32))
        return self.op("DequantizeLinear", data, self.constant(steps), self.constant(np.zeros(size, np.int32)), axis=0)

    def give(self, x: str, name: str, scale: float, zero: int | None = None) -> None:
        self.nodes.append(node("Identity", self.quantise(x, scale, zero), name))
        self.steps[name] = scale

    def proto(self, inputs: dict[str, Any]) -> onnx.ModelProto:
        outputs = [value(name, None) for name in self.steps]
        return model(self.nodes, inputs, outputs, self.constants, opset=13)


def kinds(proto: onnx.ModelProto) -> Counter[str]:
    return Counter(n.op_type for n in prepared(proto).proto.graph.node)


def check(net: Quantised, shapes: list[int] | dict[str, list[int]], folder: Path) -> Counter[str]:
    """Every element within a step, and nearly all equal; returns how often operators are left."""
    shapes = shapes if isinstance(shapes, dict) else {"x": shapes}
    proto = net.proto(shapes)
    inputs = {name: (RNG.standard_normal(shape) * 2).astype(np.float32) for name, shape in shapes.items()}
    expected = run_reference(proto, inputs)[1]
    compile_model(proto, out=folder / "model.so", verify=False)
    got = Model(str(folder / "model.so")).run(inputs)
    for name, scale in net.steps.items():
        steps = np.abs(got[name].astype(np.float64) - expected[name]) / scale
        assert got[name].shape == expected[name].shape
        assert steps.max(initial=0) < 1.01, name
        assert (steps > 0.5).mean() < 0.002 or (steps > 0.5).sum() <= 1, name
        assert np.unique(expected[name]).size > 3  # not all beyond the limits
    return kinds(proto)


CONVOLUTIONS: list[tuple[list[int], tuple[int, ...], dict[str, Any]]] = [
    ([1, 3, 9, 7], (5, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ([2, 6, 9, 7], (10, 6, 1, 1), {}),
    ([1, 7, 1, 1], (9, 7, 1, 1), {}),
    ([3, 8, 8, 8], (16, 8, 3, 3), {"strides": [2, 1], "pads": [0, 1, 2, 1]}),
    ([1, 5, 11, 9], (3, 5, 3, 2), {"dilations": [2, 3], "pads": [2, 1, 2, 2]}),
    ([1, 5, 11, 9], (3, 5, 3, 2), {"strides": [2, 3], "auto_pad": "SAME_UPPER"}),
    ([1, 8, 6, 6], (12, 4, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    ([2, 13, 7, 5], (13, 1, 3, 3), {"group": 13, "pads": [1, 1, 1, 1]}),
    ([1, 20, 7, 5], (20, 1, 5, 5), {"group": 20, "strides": [2, 2]}),
    ([1, 4, 9], (6, 4, 3), {"pads": [2, 0]}),
    ([1, 2, 4, 5, 4], (3, 2, 2, 3, 2), {"pads": [1, 0, 1, 0, 1, 0]}),
]


@pytest.mark.parametrize(
    ("elem", "kind", "axis", "zero"),
    [
        ("uint8", "int8", 0, 0),
        ("uint8", "uint8", None, 128),
        ("uint8", "uint8", None, 101),
        ("int8", "int8", 0, 0),
    ],
)
def test_convolutions(elem: str, kind: str, axis: int | None, zero: int, tmp_path: Path) -> None:
    net = Quantised(elem)
    for index, (_shape, kernel, attributes) in enumerate(CONVOLUTIONS):
        x = net.quantise(f"x{index}", 0.043)
        w = net.weights(kernel, kind, axis, zero)
        bias = [net.bias(kernel[0], 0.043)] if index % 3 else []
        net.give(net.op("Conv", x, w, *bias, **attributes), f"y{index}", 0.0719 * np.sqrt(np.prod(kernel[1:])))
    left = check(net, {f"x{index}": shape for index, (shape, *_) in enumerate(CONVOLUTIONS)}, tmp_path)
    assert left["ConvInteger"] == len(CONVOLUTIONS)
    assert left["Conv"] == 0


TRANSPOSED: list[tuple[list[int], tuple[int, ...], dict[str, Any]]] = [
    ([1, 5, 6, 7], (5, 4, 2, 2), {"strides": [2, 2]}),
    ([2, 3, 5, 4], (3, 6, 3, 3), {"strides": [2, 1], "pads": [1, 1, 0, 1], "output_padding": [1, 0]}),
    ([1, 4, 5, 5], (4, 3, 3, 2), {"group": 2, "dilations": [2, 1], "strides": [1, 3]}),
    ([1, 6, 4, 4], (6, 1, 4, 4), {"group": 6, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ([1, 3, 4, 4], (3, 2, 1, 1), {"strides": [2, 2], "output_shape": [8, 8]}),
    ([1, 3, 9], (3, 4, 3), {"strides": [2]}),
    ([1, 3, 5, 6], (3, 5, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ([1, 3, 4, 4], (3, 4, 2, 2), {"strides": [2, 2]}),
    ([1, 4, 3, 4], (4, 5, 3, 3), {"strides": [1, 1], "pads": [2, 2, 2, 2]}),
]
# Those of channels by themselves have a convolution for each place of a block.
CONVOLUTIONS_OF_TRANSPOSED = len(TRANSPOSED) + 3


@pytest.mark.parametrize(("kind", "axis", "zero"), [("int8", None, 0), ("int8", 1, 0), ("uint8", None, 120)])
def test_transposed_convolutions(kind: str, axis: int | None, zero: int, tmp_path: Path) -> None:
    net = Quantised()
    for index, (_shape, kernel, attributes) in enumerate(TRANSPOSED):
        single = attributes.get("group", 1) > 1
        x = net.quantise(f"x{index}", 0.0431)
        w = net.weights(kernel, kind, None if single else axis, zero)
        channels = kernel[1] * attributes.get("group", 1)
        bias = [net.bias(channels, 0.0431)] if index % 2 else []
        net.give(net.op("ConvTranspose", x, w, *bias, **attributes), f"y{index}", 0.0517 * kernel[0])
    left = check(net, {f"x{index}": shape for index, (shape, *_) in enumerate(TRANSPOSED)}, tmp_path)
    assert left["ConvInteger"] == CONVOLUTIONS_OF_TRANSPOSED
    assert left["ConvTranspose"] == 0


@pytest.mark.parametrize("weights", [("int8", True, 0), ("int8", False, 0), ("uint8", False, 100)], ids=str)
@pytest.mark.parametrize("elem", ["uint8", "int8"])
def test_products(elem: str, weights: tuple[str, bool, int], tmp_path: Path) -> None:
    kind, several, zero = weights
    net = Quantised(elem)
    x = net.quantise("x", 0.043)
    net.give(net.op("MatMul", x, net.weights((13, 10), kind, 1 if several else None, zero)), "y", 0.3)
    rows = net.op("Reshape", x, net.constant(np.array([6, 13])))
    w = net.weights((9, 13), kind, 0 if several else None, zero)
    net.give(net.op("Gemm", rows, w, net.bias(9, 0.043), transB=1), "g", 0.3)
    w = net.weights((6, 5), kind, 1 if several else None, zero)
    other = net.op(
        "Gemm", rows, w, net.constant(np.array([0.3, -1, 2, 4, 0], np.float32)), transA=1, alpha=0.5, beta=2.0
    )
    net.give(other, "h", 0.2)
    left = check(net, [2, 3, 13], tmp_path)
    assert left["MatMulInteger"] == 3
    assert left["Gemm"] == left["MatMul"] == 0


def test_a_convolution_without_zero_points_of_constants_has_no_wider_weights(tmp_path: Path) -> None:
    """A depthwise one whose weights minus their zero point need nine bits."""
    net = Quantised()
    w = net.weights((6, 1, 3, 3), "uint8", None, 30)
    net.give(net.op("Conv", net.quantise("x", 0.05), w, group=6), "y", 0.3)
    assert check(net, [1, 6, 8, 8], tmp_path)["ConvInteger"] == 1


def test_a_residual_block(tmp_path: Path) -> None:
    net = Quantised()
    x = net.quantise("x", 0.0513)
    y = net.op("Relu", net.op("Conv", x, net.weights((6, 6, 3, 3), "int8", 0), pads=[1, 1, 1, 1]))
    y = net.quantise(y, 0.0971, 0)
    y = net.quantise(net.op("Conv", y, net.weights((6, 6, 1, 1), "int8", 0)), 0.2937)
    net.give(net.op("Relu", net.op("Add", y, x)), "y", 0.2111, 0)
    left = check(net, [1, 6, 10, 9], tmp_path)
    assert (left["ConvInteger"], left["Relu"]) == (2, 0)  # the zero points imply both


@pytest.mark.parametrize("bounds", [(-0.31, 4.5), (0.5, 100.0), (-0.3, None)])
@pytest.mark.parametrize("several", [False, True])
def test_no_bound_and_no_division_is_left_before_eight_bits(
    bounds: tuple[float, float | None], several: bool, tmp_path: Path
) -> None:
    """Of one step, and of one for each channel, which a filter a channel reads."""
    net = Quantised()
    y = net.op("Conv", net.quantise("x", 0.0513), net.weights((6, 4, 1, 1), "int8", 0))
    limits = [net.constant(np.float32(bound)) for bound in bounds if bound is not None]
    y = net.op("Clip", y, *limits)
    scale = RNG.uniform(0.011, 0.019, 6).astype(np.float32) if several else np.float32(0.0171)
    pair = net.constant(scale), net.constant(np.full(np.shape(scale), 20, np.uint8))
    axis = {"axis": 1} if several else {}
    y = net.op("DequantizeLinear", net.op("QuantizeLinear", y, *pair, **axis), *pair, **axis)
    net.give(y, "y", 0.0191)
    proto = net.proto({"x": [2, 4, 5, 7]})
    graph = prepared(proto).proto.graph
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    quantised = [n for n in graph.node if n.op_type == "QuantizeLinear"]
    assert [n.input[0] for n in quantised if not np.all(scales[n.input[1]] == 1)] == ["x"]  # else in constants
    assert not any(n.op_type == "Clip" for n in graph.node)
    check(net, [2, 4, 5, 7], tmp_path)


@pytest.mark.parametrize("elem", ["uint8", "int8"])
def test_moves_of_elements_are_of_eight_bits(elem: str, tmp_path: Path) -> None:
    net = Quantised(elem)
    x = net.quantise("x", 0.05)
    y = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = net.quantise(y, 0.05)
    y = net.quantise(net.op("Concat", y, y, axis=1), 0.05)
    y = net.op("Reshape", y, net.constant(np.array([1, 2, 8, 5, 4])))
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 1, 3, 4]), net.constant(np.array([1, 16, 5, 4])))
    y = net.op("Slice", y, net.constant([1]), net.constant([14]), net.constant([1]))
    y = net.op("Pad", y, net.constant([0, 0, 1, 0, 0, 0, 0, 2]))
    y = net.op("Resize", y, "_", "_", net.constant([1, 13, 12, 12]), mode="nearest")
    net.give(y, "y", 0.05)
    left = check(net, [1, 8, 9, 8], tmp_path)
    assert (left["QuantizeLinear"], left["DequantizeLinear"]) == (1, 1)


def test_what_cannot_move_as_eight_bits_stays(tmp_path: Path) -> None:
    """Margins between two steps, and parts of different steps."""
    net = Quantised()
    x = net.quantise("x", 0.05)
    pad = net.op("Pad", x, net.constant([0, 0, 0, 0, 0, 0, 0, 2]), net.constant(np.float32(0.07)))
    net.give(pad, "p", 0.05)
    net.give(net.op("Concat", x, net.quantise("x", 0.1), axis=1), "c", 0.0817)
    check(net, [1, 3, 4, 5], tmp_path)


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ([2, 2], {"strides": [2, 2]}),
        ([3, 3], {"pads": [1, 1, 1, 1]}),
        ([3, 2], {"pads": [1, 1, 1, 0], "count_include_pad": 1}),
        ([9, 8], {}),
    ],
)
def test_averages(kernel: list[int], attributes: dict[str, Any], tmp_path: Path) -> None:
    net = Quantised()
    x = net.quantise("x", 0.05)
    net.give(net.op("AveragePool", x, kernel_shape=kernel, **attributes), "y", 0.01913)
    net.give(net.op("GlobalAveragePool", x), "g", 0.00417)
    net.give(net.op("ReduceMean", x, axes=[-1], keepdims=0), "m", 0.01913)
    left = check(net, [2, 5, 9, 8], tmp_path)
    assert left["AveragePool"] == left["GlobalAveragePool"] == left["ReduceMean"] == 0


def test_floats_between_products(tmp_path: Path) -> None:
    net = Quantised("int8")
    x = net.quantise("x", 0.05)
    y = net.quantise(net.op("Conv", x, net.weights((6, 6, 1, 1))), 0.1)
    y = net.quantise(net.op("Mul", y, net.quantise(net.op("Sigmoid", y), 1 / 256, -128)), 0.05, -100)
    y = net.quantise(net.op("LeakyRelu", y, alpha=0.1), 0.05, -90)
    y = net.quantise(net.op("Clip", y, net.constant(np.float32(0)), net.constant(np.float32(6))), 6 / 255, -128)
    net.give(net.op("Softmax", net.op("Conv", y, net.weights((4, 6, 1, 1))), axis=1), "y", 1 / 256, -128)
    check(net, [1, 6, 5, 4], tmp_path)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_value_that_is_summed_and_multiplied(swapped: bool, tmp_path: Path) -> None:
    net = Quantised()
    x, y = net.quantise("x", 0.0513), net.quantise(net.op("Sigmoid", "x"), 1 / 256, 0)
    product = net.op("Mul", *((y, x) if swapped else (x, y)))
    net.give(net.op("Add", x, product), "a", 0.0731)
    net.give(net.op("Add", net.op("Mul", x, net.constant(np.float32(0.3))), x), "b", 0.0731)
    check(net, [2, 3, 8], tmp_path)


def by_channel(net: Quantised, x: str, scales: Any, zero: int = 117) -> str:
    """x through a Q/DQ pair with a scale for each channel."""
    pair = net.constant(np.asarray(scales, np.float32)), net.constant(np.full(len(scales), zero, "uint8"))
    return net.op("DequantizeLinear", net.op("QuantizeLinear", x, *pair, axis=1), *pair, axis=1)


def batch_norm(net: Quantised, x: str, gamma: Any) -> str:
    statistics = [
        gamma,
        RNG.standard_normal(len(gamma)),
        RNG.standard_normal(len(gamma)),
        RNG.uniform(1, 2, len(gamma)),
    ]
    return net.op("BatchNormalization", x, *(net.constant(np.asarray(s, np.float32)) for s in statistics))


@pytest.mark.parametrize("last", [1.0, -1.0, 1e-36, 0.0])
@pytest.mark.parametrize("channels", [1, 5])
def test_factors_between_steps_of_channels_go_into_constants(channels: int, last: float, tmp_path: Path) -> None:
    """Any but zero, by which nothing can be divided; what a batch normalisation adds stays a sum."""
    net = Quantised()
    scales = np.linspace(0.03, 0.06, channels)
    x = by_channel(net, "x", scales)
    y = by_channel(net, net.op("Conv", net.quantise("x", 0.05), net.weights((channels, channels, 1, 1))), scales[::-1])
    both = net.op("Concat", x, y, axis=1)
    gamma = RNG.uniform(0.5, 2, 2 * channels)
    gamma[-1] *= last
    slope = net.constant(RNG.uniform(-1, 1, (2 * channels, 1, 1)).astype(np.float32))
    y = by_channel(net, net.op("PRelu", batch_norm(net, both, gamma), slope), np.linspace(0.04, 0.09, 2 * channels))
    net.give(y, "y", 0.05)
    counts = check(net, [2, channels, 5, 7], tmp_path)
    assert counts["BatchNormalization"] == 0 and counts["Mul"] == 1 + (not last)


def test_steps_of_channels_where_an_operand_has_none(tmp_path: Path) -> None:
    """Rows, and values of fewer axes, cannot be divided by a channel's step; what is shared keeps its own."""
    net = Quantised()
    x = net.quantise("x", 0.0513)
    row, lower = net.quantise("row", 0.0407), net.quantise("lower", 0.0509)
    scales = np.array([0.0523, 0.0617, 0.0711])
    net.give(by_channel(net, net.op("Add", x, row), scales), "a", 0.1337)
    net.give(by_channel(net, net.op("Mul", x, lower), scales), "b", 0.1337)
    total = net.op("Mul", net.op("Add", x, lower), net.constant(np.float32(1.7)))
    net.give(by_channel(net, total, scales), "c", 0.1337)
    check(net, {"x": [2, 3, 3, 4], "row": [2, 1, 3, 4], "lower": [3, 3, 4]}, tmp_path)


def test_a_factor_below_zero_before_a_relu(tmp_path: Path) -> None:
    net = Quantised()
    y = net.op("Mul", net.op("Relu", net.quantise("x", 0.0513)), net.constant(np.float32(-0.7)))
    net.give(net.op("Add", y, net.quantise("z", 0.0481)), "y", 0.1337)
    assert check(net, {"x": [3, 4, 5], "z": [3, 4, 5]}, tmp_path)["Mul"] == 1


def test_weights_that_are_quantised_in_the_graph_and_transposed(tmp_path: Path) -> None:
    net = Quantised()
    pair = net.constant(np.float32(0.01)), net.constant(np.int8(0))
    w = net.op("QuantizeLinear", net.constant(RNG.standard_normal((7, 6)).astype(np.float32) / 3), *pair)
    w = net.op("Transpose", net.op("DequantizeLinear", w, *pair), perm=[1, 0])
    several = net.op("Transpose", net.weights((8, 7), axis=0), perm=[1, 0])
    y = net.quantise(net.op("MatMul", net.quantise("x", 0.05), w), 0.05)
    net.give(net.op("MatMul", y, several), "y", 0.2)
    assert check(net, [2, 4, 6], tmp_path)["MatMulInteger"] == 2


def test_weights_alone_are_no_integer_product(tmp_path: Path) -> None:
    net = Quantised()
    net.give(net.op("MatMul", "x", net.weights((6, 5))), "y", 0.1)
    assert check(net, [4, 6], tmp_path)["MatMul"] == 1


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_dynamic_quantisation(kind: str, tmp_path: Path) -> None:
    zero = 0 if kind == "int8" else 128
    limits = np.iinfo(kind)
    constants = {
        "w": RNG.integers(limits.min, limits.max, (9, 7), kind),
        "c": RNG.integers(limits.min, limits.max, (4, 3, 3, 3), kind),
        "z": np.asarray(zero, kind),
        "s": np.float32(0.01),
    }
    nodes = [
        node("DynamicQuantizeLinear", "x", "q qs qz"),
        node("MatMulInteger", "q w qz z", "m"),
        node("ConvInteger", "q c qz z", "n", pads=[1, 1, 1, 1]),
        node("Cast", "m", "f", to=1),
        node("Mul", "qs s", "step"),
        node("Mul", "f step", "y"),
    ]
    outputs = [value("n", None, "int32"), value("y", None)]
    proto = model(nodes, {"x": [2, 3, 8, 9]}, outputs, constants)
    x = RNG.standard_normal((2, 3, 8, 9)).astype(np.float32)
    expected = run_reference(proto, {"x": x})[1]
    compile_model(proto, out=tmp_path / "model.so", verify=False)
    got = Model(str(tmp_path / "model.so")).run({"x": x})
    np.testing.assert_array_equal(got["n"], expected["n"])
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-6, atol=1e-6)


def test_zero_points_and_weights_that_are_inputs(tmp_path: Path) -> None:
    """Against NumPy: onnxruntime wants single zero points of convolutions, and none of rows."""
    nodes = [node("MatMulInteger", "a b za zb", "y"), node("ConvInteger", "x w zx zw", "z", pads=[1, 0, 1, 0])]
    taken = {"a": [5, 6], "b": [6, 4], "za": [5], "zb": [4], "x": [1, 2, 5, 5], "w": [3, 2, 2, 2], "zx": [], "zw": [3]}
    inputs = {name: np.asarray(RNG.integers(0, 256, shape), np.uint8) for name, shape in taken.items()}
    outputs = [value("y", None, "int32"), value("z", None, "int32")]
    proto = model(nodes, {name: (shape, "uint8") for name, shape in taken.items()}, outputs)
    compile_model(proto, out=tmp_path / "model.so", verify=False)
    got = Model(str(tmp_path / "model.so")).run(inputs)
    wide = {name: array.astype(np.int32) for name, array in inputs.items()}
    a, b = wide["a"] - wide["za"][:, None], wide["b"] - wide["zb"]
    np.testing.assert_array_equal(got["y"], a @ b)
    x = np.pad(wide["x"] - wide["zx"], [(0, 0), (0, 0), (1, 1), (0, 0)])
    w = wide["w"] - wide["zw"][:, None, None, None]
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3))
    np.testing.assert_array_equal(got["z"], np.einsum("nchwij,ocij->nohw", windows, w))


def test_which_models_are_quantised() -> None:
    net = Quantised()
    assert not is_quantised(model([node("Relu", "x", "y")], {"x": [2]}, [value("y", None)]))
    net.give("x", "y", 0.1)
    assert is_quantised(net.proto({"x": [2]}))


def test_products_of_floats_are_named_with_their_reasons() -> None:
    net = Quantised()
    x = net.quantise("x", 0.05)
    net.give(net.op("MatMul", x, net.op("Transpose", x, perm=[1, 0])), "a", 0.1)
    net.give(net.op("MatMul", x, net.weights((6, 5), axis=0)), "b", 0.1)
    net.give(net.op("MatMul", x, net.constant(np.ones((6, 5), np.float32))), "c", 0.1)
    net.give(net.op("MatMul", "x", net.weights((6, 5))), "d", 0.1)
    net.give(net.op("MatMul", x, net.weights((6, 5))), "e", 0.1)
    proto = net.proto({"x": [4, 6]})
    reasons = [product.reason for product in prepared(proto).float_products]
    words = ["two values", "another axis", "weights are not", "data is not"]
    assert [word in reason for word, reason in zip(words, reasons, strict=True)] == [True] * 4
    assert prepared(model([node("MatMul", "x x", "y")], {"x": [2, 2]}, [value("y", None)])).float_products == ()
