"""Functions of one 8-bit tensor become tables, with the values that their programs compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.frontend.prepare import load_model, prepare
from compiler.runtime.loader import Model
from compiler.verify.reference import run_reference
from tests.models import model, node, value
from tests.passes.relax_modules import calls
from tests.passes.test_phases import lower

Body = Callable[["Net", str], str]
SHAPE = (1, 6, 7, 9)


class Net:
    """A model from 8 bits to 8 bits, written operator by operator."""

    def __init__(self, elem: str = "uint8") -> None:
        self.elem = elem
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}

    def constant(self, array: Any) -> str:
        self.constants[f"k{len(self.constants)}"] = np.asarray(array)
        return f"k{len(self.constants) - 1}"

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(node(operator, " ".join(inputs), f"v{len(self.nodes)}", **attributes))
        return str(self.nodes[-1].output[0])

    def step(self, scale: float, zero: int) -> tuple[str, str]:
        zero = zero if self.elem == "uint8" else zero - 128
        return self.constant(np.float32(scale)), self.constant(np.asarray(zero, self.elem))

    def through(self, x: str, scale: float, zero: int) -> str:
        """x through a Q/DQ pair."""
        step = self.step(scale, zero)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *step), *step)

    def proto(self, body: Body, shape: tuple[int, ...] = SHAPE, scale: float = 0.043, zero: int = 111) -> Any:
        real = self.op("DequantizeLinear", "x", *self.step(scale, zero))
        result = self.op("QuantizeLinear", body(self, real), *self.step(0.021, 40))
        return model(self.nodes, {"x": (shape, self.elem)}, [value(result, shape, self.elem)], self.constants, opset=20)


def sigmoid_linear(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", x))


def sigmoid_linear_in_two(net: Net, x: str) -> str:
    return net.op("Mul", x, net.through(net.op("Sigmoid", x), 1 / 256, 0))


def hard_swish_in_two(net: Net, x: str) -> str:
    return net.through(net.op("HardSwish", net.through(net.op("LeakyRelu", x, alpha=0.1), 0.05, 90)), 0.03, 30)


def of_one(operator: str, **attributes: Any) -> Body:
    return lambda net, x: net.op(operator, x, **attributes)


BODIES: dict[str, Body] = {
    "silu": sigmoid_linear,
    "silu in two": sigmoid_linear_in_two,
    "hard swish in two": hard_swish_in_two,
    **{
        operator: of_one(operator)
        for operator in ("Sigmoid", "HardSwish", "HardSigmoid", "Tanh", "Gelu", "Exp", "Elu", "Softsign", "Erf", "Abs")
    },
    "Gelu of tanh": of_one("Gelu", approximate="tanh"),
    "LeakyRelu": of_one("LeakyRelu", alpha=0.2),
    "Clip": lambda net, x: net.op("Clip", x, net.constant(np.float32(-0.7)), net.constant(np.float32(1.9))),
    "new step": lambda net, x: net.op("Identity", x),
}


def kernels(proto: Any) -> list[str]:
    return [str(call.args[0].name_hint) for call in calls(lower(prepare(load_model(proto)).module), "call_tir")]


@pytest.mark.parametrize("elem", ["uint8", "int8"])
@pytest.mark.parametrize("name", BODIES)
def test_one_table_has_the_values_of_the_model(name: str, elem: str, tmp_path: Path) -> None:
    proto = Net(elem).proto(BODIES[name])
    assert kernels(proto) == ["table"]
    compile_model(proto, "host", tmp_path / "model.so", verify=False)
    data = np.resize(np.arange(256).astype(np.uint8), SHAPE).view(elem)
    with Model(tmp_path / "model.so") as compiled:
        (result,) = compiled.run({"x": data}).values()
    _name, expected = run_reference(proto, {"x": data})
    (wanted,) = expected.values()
    np.testing.assert_array_equal(result, wanted)


def test_values_for_which_there_is_no_number_are_left_to_the_kernel() -> None:
    assert kernels(Net().proto(of_one("Log"))) != ["table"], "of negative numbers"
    assert kernels(Net().proto(of_one("Sqrt"))) != ["table"]
    nan = Net().proto(lambda net, x: net.op("Mul", x, net.constant(np.float32(np.nan))))
    assert kernels(nan) != ["table"]


def test_what_differs_by_channel_has_no_table() -> None:
    gain = np.linspace(0.5, 1.5, 6, dtype=np.float32).reshape(6, 1, 1)
    assert kernels(Net().proto(lambda net, x: net.op("Mul", x, net.constant(gain)))) != ["table"]


def test_few_elements_have_no_table() -> None:
    assert kernels(Net().proto(sigmoid_linear, (5, 51))) != ["table"]
    assert kernels(Net().proto(sigmoid_linear, (4, 64))) == ["table"]


def test_two_tensors_have_no_table() -> None:
    net = Net()
    other = net.op("DequantizeLinear", "z", *net.step(0.05, 3))
    proto = net.proto(lambda net, x: net.op("Mul", x, other))
    proto.graph.input.append(value("z", SHAPE, "uint8"))
    assert kernels(proto) != ["table"]


def test_what_others_read_stays() -> None:
    """Of two steps the first is a result too."""
    net = Net()
    sigmoid = net.op("Sigmoid", net.op("DequantizeLinear", "x", *net.step(0.04, 99)))
    first = net.op("QuantizeLinear", sigmoid, *net.step(1 / 256, 0))
    real = net.op("DequantizeLinear", first, *net.step(1 / 256, 0))
    second = net.op("QuantizeLinear", net.op("Neg", net.op("Tanh", real)), *net.step(0.01, 200))
    outputs = [value(name, SHAPE, "uint8") for name in (first, second)]
    proto = model(net.nodes, {"x": (SHAPE, "uint8")}, outputs, net.constants, opset=20)
    lowered = calls(lower(prepare(load_model(proto)).module), "call_tir")
    assert [str(call.args[0].name_hint).startswith("table") for call in lowered] == [True, True]
    sources = {call.args[1].fields[0] for call in lowered}
    assert len(sources) == 1, "both are functions of the input"
