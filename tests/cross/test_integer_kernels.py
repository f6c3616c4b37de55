"""Kernels of 8-bit integers for ARM: in an emulator, bit by bit what NumPy computes with integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.pipeline import compile_model
from compiler.target import load_target
from compiler.verify.execute import execute
from tests.executors import executor_or_skip
from tests.networks import model

Array = np.ndarray[Any, Any]

_I8MM = """
[board]
name = "i8mm"
description = "A core with Armv8.6's products of matrices of bytes"
sources = ["none: for tests"]

[cpu]
triple = "aarch64-linux-gnu"
core = "cortex-a78"
features = ["+dotprod", "+i8mm", "+bf16"]
clusters = [{ core = "cortex-a78", cores = 1, ghz = 2.0 }]
simd_bits = 128
simd_registers = 32
fma_pipes = 2
memory_bandwidth_gbs = 10.0
qemu_cpu = "max"

[cpu.caches]
l1d_kib = 64
l2_kib = 256
l2_shared = false

[os]
name = "linux"
glibc = "2.28"
python = "3.9"
"""


@dataclass(frozen=True)
class Case:
    """A convolution of x [n, channels, size, size], and how its sums are written.

    Attributes:
        extreme: -128 and 127 for data, -127 and 127 for weights, mostly of one sign; `full`: weights of -128 too.
        bytes: whether bias, scale by channel, Relu and rounding to int8 follow; and then, with `pool`, the maximum of
            windows of 2x2.
    """

    channels: int
    outputs: int
    kernel: int = 1
    size: int = 6
    n: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    pad: int = 0
    extreme: str = ""
    bytes: bool = True
    pool: bool = False

    def weights(self, rng: np.random.Generator) -> Array:
        shape = (self.outputs, self.channels // self.groups, self.kernel, self.kernel)
        if not self.extreme:
            return rng.integers(-127, 128, shape).astype(np.int8)
        low = -128 if self.extreme == "full" else -127
        return np.where(rng.random(shape) < 0.9, low, 127).astype(np.int8)

    def data(self, rng: np.random.Generator) -> Array:
        shape = (self.n, self.channels, self.size, self.size)
        if not self.extreme:
            return rng.integers(-128, 128, shape).astype(np.int8)
        return np.where(rng.random(shape) < 0.9, -128, 127).astype(np.int8)

    def sums(self, x: Array, w: Array) -> Array:
        """[n, outputs, rows, columns], int32."""
        x = np.pad(x.astype(np.int64), [(0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)])
        extent = (x.shape[2] - (self.kernel - 1) * self.dilation - 1) // self.stride + 1
        inputs, outputs = self.channels // self.groups, self.outputs // self.groups
        made = np.zeros((self.n, self.outputs, extent, extent), np.int64)
        for group in range(self.groups):
            own = slice(group * outputs, (group + 1) * outputs)
            for y, column in np.ndindex(self.kernel, self.kernel):
                rows, columns = (
                    slice(at * self.dilation, at * self.dilation + (extent - 1) * self.stride + 1, self.stride)
                    for at in (y, column)
                )
                part = x[:, group * inputs : (group + 1) * inputs, rows, columns]
                made[:, own] += np.einsum("nchw,oc->nohw", part, w[own, :, y, column].astype(np.int64))
        return made.astype(np.int32)


CASES = (
    Case(16, 20, size=9),
    Case(8, 24, size=8, pool=True),
    Case(3, 9, 3, size=11, pad=1, stride=2, n=2),
    Case(5, 17, 3, pad=1, n=2, bytes=False),
    Case(20, 6, 3, pad=2, dilation=2),
    Case(58, 58, size=5),
    Case(40, 13, size=1),
    Case(64, 1, bytes=False),
    Case(1, 8, 5, size=12, pad=2),
    Case(24, 12, 3, size=7, pad=1, stride=2, extreme="small"),
    Case(32, 24, extreme="full"),
    Case(16, 24, 3, pad=1, groups=4),
    Case(33, 33, 3, pad=1, groups=33),
    Case(8, 8, 5, size=9, pad=2, stride=2, groups=8, n=2, bytes=False),
    Case(64, 64, 3, pad=1, groups=64, extreme="small"),
    Case(10, 10, 3, groups=10, extreme="full", dilation=2),
)
ZERO = -3  # of results


def build(cases: tuple[Case, ...]) -> tuple[onnx.ModelProto, dict[str, Array], dict[str, Array]]:
    """All cases side by side in one model, with its inputs and what they give."""
    rng = np.random.default_rng(5)
    nodes, given, made, constants = [], [], [], []
    inputs: dict[str, Array] = {}
    expected: dict[str, Array] = {}

    def constant(name: str, value: Array) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    constant("one", np.array(1, np.float32))
    constant("zero", np.array(ZERO, np.int8))
    for number, case in enumerate(cases):
        x, w, sums = (f"{name}{number}" for name in ("x", "w", "sums"))
        inputs[x], weights = case.data(rng), case.weights(rng)
        nodes.append(
            helper.make_node(
                "ConvInteger",
                [x, constant(w, weights)],
                [sums],
                group=case.groups,
                pads=[case.pad] * 4,
                strides=[case.stride] * 2,
                dilations=[case.dilation] * 2,
            )
        )
        result, elem = case.sums(inputs[x], weights), TensorProto.INT32
        expected[sums] = result
        if case.bytes:
            del expected[sums]
            bias = rng.integers(-999, 999, (1, case.outputs, 1, 1)).astype(np.int32)
            spread = 60 / max(1.0, float(np.abs(result).std()))
            scale = (rng.uniform(0.5, 1, (1, case.outputs, 1, 1)) * spread).astype(np.float32)
            steps = (("Add", sums, constant(f"b{number}", bias)), ("Cast", f"biased{number}", None))
            steps += (("Mul", f"float{number}", constant(f"s{number}", scale)), ("Relu", f"scaled{number}", None))
            for (operator, before, other), after in zip(steps, ("biased", "float", "scaled", "relu"), strict=True):
                to = {"to": TensorProto.FLOAT} if operator == "Cast" else {}
                operands = [before, other] if other else [before]
                nodes.append(helper.make_node(operator, operands, [f"{after}{number}"], **to))
            sums, elem = f"q{number}", TensorProto.INT8
            nodes.append(helper.make_node("QuantizeLinear", [f"relu{number}", "one", "zero"], [sums]))
            value = np.rint(np.maximum((result + bias).astype(np.float32) * scale, 0)) + ZERO
            result = np.clip(value, -128, 127).astype(np.int8)
            if case.pool:
                largest = f"max{number}"
                nodes.append(helper.make_node("MaxPool", [sums], [largest], kernel_shape=[2, 2], strides=[2, 2]))
                sums = largest
                result = np.max([result[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)], axis=0)
            expected[sums] = result
        given.append(helper.make_tensor_value_info(x, TensorProto.INT8, inputs[x].shape))
        made.append(helper.make_tensor_value_info(sums, elem, result.shape))
    return model(nodes, given, made, constants), inputs, expected


@pytest.mark.arm
@pytest.mark.parametrize("name", ["raspberry-pi-4", "raspberry-pi-5", "generic-armv7", "i8mm"])
def test_products_are_bit_exact(name: str, tmp_path: Path) -> None:
    if name == "i8mm":
        path = tmp_path / "i8mm.toml"
        path.write_text(_I8MM)
        name = str(path)
    target = load_target(name)
    executor = executor_or_skip(target)
    network, inputs, expected = build(CASES)
    artifact = compile_model(network, target, tmp_path / "net.so", verify=False)
    results = execute(executor, artifact.path, inputs)
    wrong = {
        CASES[number]: int((results[key] != value).sum())
        for number, (key, value) in enumerate(expected.items())
        if not np.array_equal(results[key], value)
    }
    assert not wrong
