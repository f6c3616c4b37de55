"""A gate of one number a channel is computed once, not for each place of the image that it scales."""

from __future__ import annotations

import math

import onnx

from compiler.frontend.prepare import load_model, prepare
from compiler.passes.rewrite import shape_of
from tests.frontend.test_integer_form import Quantised
from tests.passes.relax_modules import calls
from tests.passes.test_phases import lower


def squeeze_and_excite() -> onnx.ModelProto:
    net = Quantised()
    x = net.quantise(net.op("Conv", net.quantise("x", 0.05), net.weights((24, 24, 1, 1))), 0.05)
    mean = net.quantise(net.op("GlobalAveragePool", x), 0.04)
    squeezed = net.quantise(net.op("Relu", net.op("Conv", mean, net.weights((8, 24, 1, 1)))), 0.02)
    gate = net.quantise(net.op("HardSigmoid", net.op("Conv", squeezed, net.weights((24, 8, 1, 1)))), 1 / 256, 0)
    y = net.quantise(net.op("Mul", x, gate), 0.03)
    net.give(net.op("Conv", y, net.weights((8, 24, 1, 1))), "y", 0.2)
    return net.proto({"x": [1, 24, 7, 7]})


def products(proto: onnx.ModelProto) -> list[int]:
    """Elements that the kernels of products make."""
    lowered = calls(lower(prepare(load_model(proto)).module), "call_tir")
    return [math.prod(shape_of(call)) for call in lowered if "packed" in str(call.args[0].name_hint)]


def test_a_gate_is_a_kernel_of_its_own() -> None:
    assert products(squeeze_and_excite()) == [24 * 49, 8, 24, 8 * 49]


def test_what_has_the_shape_of_the_product_stays_with_it() -> None:
    net = Quantised()
    y = net.op("Mul", net.op("Conv", net.quantise("x", 0.05), net.weights((8, 6, 3, 3))), "z")
    net.give(y, "y", 0.2)
    lowered = calls(lower(prepare(load_model(net.proto({"x": [1, 6, 9, 9], "z": [1, 8, 1, 1]}))).module), "call_tir")
    names = [str(call.args[0].name_hint) for call in lowered if "packed" in str(call.args[0].name_hint)]
    assert len(names) == 1
    assert "multiply1" in names[0], "the scale of the sums, then z"
