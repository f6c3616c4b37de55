"""No kernel stores the real numbers of an 8-bit tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from compiler.frontend.prepare import load_model, prepare
from compiler.passes.eight_bit_edges import dequantise_for_each_reader
from tests.frontend.test_integer_form import Quantised
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators
from tests.passes.test_phases import lower

op = relax.op


def stored(net: Quantised, shape: list[int]) -> list[str]:
    """The types of what the kernels of a network make, but for its result."""
    lowered = lower(prepare(load_model(net.proto({"x": shape}))).module)
    types = [str(call.ty.dtype) for call in calls(lowered, "call_tir")]
    return types[:-1]


def test_each_reader_dequantises_for_itself() -> None:
    def body(q: Any) -> Any:
        real = op.multiply(op.subtract(op.astype(q, "float32"), relax.const(9.0)), relax.const(0.1))
        return op.add(op.matmul(real, relax.const(floats("w", 4, 4))), op.sigmoid(real))

    before = module([((3, 4), "uint8")], body)
    after = dequantise_for_each_reader(before)
    assert (operators(before)["astype"], operators(after)["astype"]) == (1, 2)
    check_equal(before, after, np.arange(12, dtype=np.uint8).reshape(3, 4))


def test_shortcuts_are_stored_with_eight_bits() -> None:
    """Of a block whose both ways have a convolution, and one of which reads the block's input twice."""
    net = Quantised()
    x = net.quantise("x", 0.0513)
    left = net.quantise(net.op("Conv", x, net.weights((6, 6, 3, 3)), pads=[1, 1, 1, 1]), 0.11)
    right = net.quantise(net.op("Conv", left, net.weights((6, 6, 1, 1))), 0.13)
    both = net.quantise(net.op("Add", net.op("Conv", x, net.weights((6, 6, 1, 1))), right), 0.17)
    net.give(net.op("Add", both, x), "y", 0.19)
    types = stored(net, [1, 6, 8, 8])
    assert "float32" not in types
    assert "int32" not in types


def test_means_read_eight_bits() -> None:
    net = Quantised()
    y = net.quantise(net.op("Conv", net.quantise("x", 0.05), net.weights((6, 6, 1, 1))), 0.1)
    net.give(net.op("GlobalAveragePool", y), "y", 0.01)
    lowered = lower(prepare(load_model(net.proto({"x": [1, 6, 8, 8]}))).module)
    wide = [call for call in calls(lowered, "call_tir") if str(call.ty.dtype) in ("int32", "float32")]
    assert max(np.prod([int(d) for d in call.ty.shape]) for call in wide) == 6


def test_a_kernel_that_cannot_begin_with_it_gets_floats() -> None:
    """Products of floats read them many times over; there is no kernel more for it."""
    net = Quantised()
    y = net.quantise(net.op("Conv", net.quantise("x", 0.05), net.weights((6, 6, 1, 1))), 0.1)
    net.give(net.op("MatMul", y, net.constant(np.ones((8, 5), np.float32))), "y", 1.0)
    assert stored(net, [1, 6, 8, 8]).count("float32") == 1
