"""Verification of deep models of 8 bits: what is right passes, and one wrong kernel does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tvm import tirx

from compiler.build import codegen
from compiler.kernels.lowering import node_pass
from compiler.pipeline import compile_model
from compiler.target import load_target
from compiler.verify import rounding
from compiler.verify.artifact import verify
from compiler.verify.compare import compare
from compiler.verify.execute import find_executor
from compiler.verify.layers import first_wrong_layer
from compiler.verify.reference import run_reference
from compiler.verify.rounding import nudged, with_noise, with_steps
from tests.models import model, node, random_inputs

LAYERS, CHANNELS = 14, 16


def deep(layers: int = LAYERS) -> onnx.ModelProto:
    """Residual convolutions of 8 bits, whose scales fit the values that standard normal inputs lead to."""
    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    constants: dict[str, Any] = {"none": np.int8(0)}

    def rounded(name: str, made: str, scale: float, zero: int) -> None:
        constants.update({f"s_{made}": np.float32(scale), f"z_{made}": np.uint8(zero)})
        nodes.append(node("QuantizeLinear", f"{name} s_{made} z_{made}", f"q_{made}", name=f"quantise {made}"))
        nodes.append(node("DequantizeLinear", f"q_{made} s_{made} z_{made}", made))

    rounded("x", "a0", 0.031, 127)
    for number in range(layers):
        weight, into = f"w{number}", f"a{number + 1}"
        values = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) / 36
        constants |= {
            f"{weight}_8": np.clip(np.rint(values / 0.0008), -127, 127).astype(np.int8),
            f"{weight}_s": np.full(CHANNELS, 0.0008, np.float32),
            f"{weight}_z": np.zeros(CHANNELS, np.int8),
            f"b{number}": (rng.standard_normal(CHANNELS) / 20).astype(np.float32),
        }
        nodes.append(node("DequantizeLinear", f"{weight}_8 {weight}_s {weight}_z", weight, axis=0))
        taps = {"pads": [1] * 4, "name": f"layer {number}"}
        nodes.append(node("Conv", f"a{number} {weight} b{number}", f"c{number}", **taps))
        rounded(f"c{number}", f"d{number}", 0.011 + number / 5000, 125)
        nodes.append(node("Add", f"a{number} d{number}", f"e{number}"))
        rounded(f"e{number}", into, 0.035 + number / 900, 122 + number % 5)
    constants["last"] = rng.standard_normal((CHANNELS * 63, 10)).astype(np.float32)
    nodes += [node("Flatten", f"a{layers}", "flat"), node("MatMul", "flat last", "y")]
    return model(nodes, {"x": [1, CHANNELS, 9, 7]}, ["y"], constants)


@pytest.fixture(scope="module")
def right() -> onnx.ModelProto:
    return deep()


def changed(proto: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> onnx.ModelProto:
    """The model with another constant."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    [tensor] = [tensor for tensor in copy.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
    return copy


def test_a_right_artifact_passes(right: onnx.ModelProto, tmp_path: Path) -> None:
    artifact = compile_model(right, "host", tmp_path / "right.so")
    assert artifact.verified == "passed", artifact.manifest["verification"]
    assert verify(artifact.path, right)


@pytest.mark.parametrize("name", ["b0", "b6", "b13"])
def test_a_wrong_bias_of_one_channel_does_not(name: str, right: onnx.ModelProto, tmp_path: Path) -> None:
    def wrong(bias: Any) -> Any:
        bias[3] += 0.25
        return bias

    artifact = compile_model(changed(right, name, wrong), "host", tmp_path / "wrong.so", verify=False)
    found = verify(artifact.path, right)
    assert not found
    assert found.layer is None  # they are right if they are compiled now


def test_the_first_layer_that_is_wrong_is_named(right: onnx.ModelProto, tmp_path: Path) -> None:
    def wrong(bias: Any) -> Any:
        bias[3] += 0.25
        return bias

    def compile_wrong(layers: onnx.ModelProto, out: Path) -> None:
        compile_model(changed(changed(layers, "b6", wrong), "b9", wrong), "host", out, verify=False)

    target = load_target("host")
    executor = find_executor(target.os, target.machine, target)
    found = first_wrong_layer(right, random_inputs(right), compile_wrong, executor)
    assert found is not None and found.startswith("Conv 'layer 6': 5.95%")  # most of one of 16 channels


def test_a_requantisation_that_is_off_by_one_is_found_and_its_layer_is_named(
    right: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = codegen.requantise

    def off_by_one(target: Any) -> Any:
        def on_cast(cast: Any) -> Any:
            eight = str(cast.ty.dtype).startswith("uint8")
            return cast + tirx.const(1, str(cast.ty.dtype)) if eight else cast

        return codegen.tvm.transform.Sequential([node_pass(tirx.Cast, on_cast), plain(target)])

    monkeypatch.setattr(codegen, "requantise", off_by_one)
    artifact = compile_model(right, "host", tmp_path / "wrong.so", cache=False)
    report = artifact.manifest["verification"]
    assert report["status"] == "failed" and report["output"] == "y"
    assert report["layer"].startswith("QuantizeLinear 'quantise a0'") or "q_a0" in report["layer"], report


def test_noise_of_roundings_is_a_tolerance_and_more_is_not(
    right: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "_ROUNDING", 1e-4)  # more noise than float32 makes in a model as small as this
    inputs = random_inputs(right)
    expected = run_reference(right, inputs)[1]["y"]
    noise = run_reference(nudged(right, (1,)), inputs)[1]["y"] - expected
    assert np.abs(noise).max() > 0
    for factor, passes in ((1.8, True), (9, False)):
        made = {"y": expected + np.float32(factor) * noise}
        found = compare(made, {"y": expected}, precision="int8")
        assert not found[0]
        assert bool(with_noise(right, inputs, found, made, {"y": expected})[0]) == passes


def test_steps_of_the_last_tensor() -> None:
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), node("Flatten", "d", "y")]
    proto = model(nodes, {"x": [10, 100]}, ["y"], {"s": np.float32(0.5), "z": np.int8(3)})
    x = np.arange(1000, dtype=np.float32).reshape(10, 100) % 60
    expected = run_reference(proto, {"x": x})[1]
    for count, passes in ((10, True), (500, False)):
        made = expected["y"].copy()
        made.reshape(-1)[:count] += np.float32(0.5)
        found = compare({"y": made}, expected, precision="int8")
        assert not found[0]
        assert bool(with_steps(proto, found, {"y": made}, expected)[0]) == passes
