"""Kernels that layers share, whose numbers are arguments: results stay the same to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.build import sharing
from compiler.pipeline import Artifact, compile_model
from compiler.target import load_target
from compiler.verify.execute import execute, find_executor
from tests.executors import executor_or_skip
from tests.models import model, node, random_inputs

# By what is before the quantisation, scales and zero points: even, odd, none and the greatest.
STEPS = {
    "nothing": [(0.031, 128), (0.0173, 7), (0.25, 0), (0.041, 255)],
    "clip": [(0.032, 128), (0.0174, 7), (0.26, 0), (0.042, 255)],
    "product": [(0.033, 128), (0.0175, 7), (0.27, 0), (0.043, 255)],
}
LOW, HIGH = np.float32(-0.55), np.float32(0.75)
Arrays = dict[str, np.ndarray[Any, Any]]


def quantising(dtype: Any) -> tuple[Any, Arrays, Arrays]:
    """Branches that quantise one input in steps of their own; the model, its input and what it must give."""
    limits, offset = np.iinfo(dtype), -128 if dtype == np.int8 else 0
    x = np.random.default_rng(0).standard_normal((2, 5, 7, 37)).astype(np.float32) * np.float32(3)
    nodes, constants, expected = [], {"low": LOW, "high": HIGH}, {}
    for before, steps in STEPS.items():
        for number, (scale, zero) in enumerate(steps):
            end, factor = f"{before}{number}", np.float32(1.5 + number / 7)
            constants |= {f"s_{end}": np.float32(scale), f"z_{end}": dtype(zero + offset), f"f_{end}": factor}
            source, value = "x", x
            if before != "nothing":
                nodes.append(node("Clip", f"{source} low high", f"c_{end}"))
                source, value = f"c_{end}", np.clip(x, LOW, HIGH)
            if before == "product":
                nodes.append(node("Mul", f"{source} f_{end}", f"m_{end}"))
                source, value = f"m_{end}", value * factor
            nodes.append(node("QuantizeLinear", f"{source} s_{end} z_{end}", end))
            made = np.rint(value / np.float32(scale)) + (zero + offset)
            expected[end] = np.clip(made, limits.min, limits.max).astype(dtype)
    return model(nodes, {"x": list(x.shape)}, list(expected), constants), {"x": x}, expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("target", ["host", "x86-64-v2", "x86-64-v3"])
def test_steps_are_arguments(target: str, dtype: Any, tmp_path: Path) -> None:
    check(target, dtype, tmp_path)


@pytest.mark.arm
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("target", ["raspberry-pi-5", "generic-armv7"])
def test_steps_are_arguments_on_arm(target: str, dtype: Any, tmp_path: Path) -> None:
    check(target, dtype, tmp_path)


def check(target: str, dtype: Any, folder: Path) -> None:
    described = load_target(target)
    executor = executor_or_skip(described)
    proto, inputs, expected = quantising(dtype)
    artifact = compile_model(proto, target, folder / "model.so", verify=False)
    assert not artifact.unscheduled
    results = execute(executor, artifact.path, inputs)
    for name, made in results.items():
        np.testing.assert_array_equal(made, expected[name], err_msg=name)
    # One for each of the three, and for those without a zero point, which has no addition.
    assert artifact.kernels <= 2 * len(STEPS)


def layers(scales: tuple[float, ...]) -> Any:
    """Products of 8 bits one after the other, all of the same shape."""
    rng = np.random.default_rng(0)
    nodes, constants = [], {"zero": np.uint8(128), "none": np.int8(0)}
    for number, scale in enumerate(scales):
        before = "x" if not number else f"y{number - 1}"
        constants |= {
            f"w{number}": rng.integers(-127, 128, (24, 24)).astype(np.int8),
            f"s{number}": np.float32(scale),
            f"t{number}": np.float32(0.011 + number / 300),
        }
        nodes += [
            node("QuantizeLinear", f"{before} s{number} zero", f"q{number}"),
            node("DequantizeLinear", f"q{number} s{number} zero", f"d{number}"),
            node("DequantizeLinear", f"w{number} t{number} none", f"v{number}"),
            node("MatMul", f"d{number} v{number}", f"y{number}"),
        ]
    return model(nodes, {"x": [16, 24]}, [f"y{len(scales) - 1}"], constants)


def compiled(proto: Any, folder: Path, shared: bool, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    with monkeypatch.context() as patch:
        if not shared:
            patch.setattr(sharing, "share_kernels", lambda programs, functions, constants: functions)
        return compile_model(proto, "host", folder / f"{shared}.so", verify=False)


def test_equal_layers_of_other_scales_have_the_same_kernels_and_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = layers((0.03, 0.05, 0.02, 0.07, 0.11))
    together, apart = (compiled(proto, tmp_path, shared, monkeypatch) for shared in (True, False))
    assert together.kernels < apart.kernels
    target = load_target("host")
    executor = find_executor(target.os, target.machine, target)
    inputs = random_inputs(proto)
    results, expected = (execute(executor, artifact.path, inputs) for artifact in (together, apart))
    assert results["y4"].tobytes() == expected["y4"].tobytes()


def test_what_is_equal_to_no_other_program_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = layers((0.03,))
    together, apart = (compiled(proto, tmp_path, shared, monkeypatch) for shared in (True, False))
    assert together.path.read_bytes() == apart.path.read_bytes()
