"""Functions whose results become 8-bit integers at once: their stated accuracy, and what they are at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tvm import te, tirx

from compiler.build.codegen import lower_kernel
from compiler.kernels.schedule import schedule
from compiler.pipeline import compile_model
from compiler.target import load_target
from compiler.verify.execute import execute
from tests.executors import ONE_OF_EACH, executor_or_skip
from tests.kernels.grid import Array, Case, combine

TARGETS = ("x86-64-v4", *ONE_OF_EACH)
EXACT: dict[str, Callable[[Array], Array]] = {
    "Exp": np.exp,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Erf": np.vectorize(math.erf, otypes=[np.float64]),
}
# The promises of compiler/kernels/short_math.py, relative.
LARGEST = {"Exp": 2e-4, "Sigmoid": 2e-4, "Tanh": 2.2e-4, "Erf": 2.2e-4}
AROUND = {"Exp": (0.03, 1.0), "Sigmoid": (0.01, 0.5, 0.99), "Tanh": (-0.9, 0.01, 0.5, 0.99), "Erf": (-0.9, 0.01, 0.99)}
SHAPE = (7, 1033)  # of no whole vectors
EDGES = np.array([np.inf, -np.inf, 100, -100, 3e38, -3e38, 0.0, -0.0], np.float32)


def arguments(low: float, high: float) -> Array:
    x = np.linspace(low, high, math.prod(SHAPE), dtype=np.float32)
    x[: EDGES.size] = EDGES
    return x.reshape(SHAPE)


def quantised(name: str, nodes: list[Any], x: Array, scale: float, zero: int, dtype: str, **constants: float) -> Case:
    """`v`, which the nodes make of `x`, as 8-bit integers."""
    held = {key: np.asarray(value, np.float32) for key, value in {"scale": scale, **constants}.items()}
    cast = helper.make_node("QuantizeLinear", ["v", "scale", "zero"], ["y"])
    return Case(name, [*nodes, cast], {"x": x}, {**held, "zero": np.asarray(zero, dtype)})


def results(cases: list[Case], target: str, folder: Path) -> list[Array]:
    executor = executor_or_skip(load_target(target))
    proto, arrays = combine(cases, [(case.constants["zero"],) for case in cases])
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    compile_model(proto, target, folder / "short.so", verify=False)
    found = execute(executor, folder / "short.so", arrays)
    return [found[f"c{number}_y"] for number in range(len(cases))]


def steps(exact: Array, scale: float, zero: int, dtype: str) -> Array:
    limits = np.iinfo(dtype)
    return np.clip(np.rint(exact / np.float32(scale)) + zero, limits.min, limits.max)


@pytest.mark.parametrize("target", TARGETS)
def test_errors_stay_within_what_is_promised(target: str, tmp_path: Path) -> None:
    """Steps of a ten-thousandth show the function around some of its values, wherever its argument is."""
    scale, cases, exact = np.float32(1e-4), [], []
    for op, around in [(op, value) for op, values in AROUND.items() for value in values]:
        x = arguments(-8, 8)
        nodes = [helper.make_node(op, ["x"], ["f"]), helper.make_node("Sub", ["f", "around"], ["v"])]
        cases.append(quantised(f"{op} {around}", nodes, x, float(scale), 0, "int8", around=around))
        with np.errstate(over="ignore"):
            exact.append(EXACT[op](x.astype(np.float64)))
    for case, wanted, found in zip(cases, exact, results(cases, target, tmp_path), strict=True):
        op, around = case.name.split()
        value = np.float32(around) + found.astype(np.float64) * scale
        low, high = (np.float32(around) + limit * scale for limit in (-128, 127))
        error = np.abs(value - np.clip(wanted, low, high))
        assert (error <= LARGEST[op] * np.clip(np.abs(wanted), 0, 1.1) + 0.51 * scale).all(), case.name


FORMS: dict[str, tuple[list[Any], Callable[[Array], Array], dict[str, float]]] = {
    "sigmoid": ([helper.make_node("Sigmoid", ["x"], ["v"])], EXACT["Sigmoid"], {}),
    "silu": (
        [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["v"])],
        lambda x: x * EXACT["Sigmoid"](x),
        {},
    ),
    "gelu": (
        [
            helper.make_node("Mul", ["x", "root"], ["r"]),
            helper.make_node("Erf", ["r"], ["e"]),
            helper.make_node("Add", ["e", "one"], ["p"]),
            helper.make_node("Mul", ["x", "p"], ["q"]),
            helper.make_node("Mul", ["q", "half"], ["v"]),
        ],
        lambda x: x * 0.5 * (1 + EXACT["Erf"](x * math.sqrt(0.5))),
        {"root": math.sqrt(0.5), "one": 1.0, "half": 0.5},
    ),
    "mish": (
        [
            helper.make_node("Softplus", ["x"], ["s"]),
            helper.make_node("Tanh", ["s"], ["t"]),
            helper.make_node("Mul", ["x", "t"], ["v"]),
        ],
        lambda x: x * np.tanh(np.log1p(np.exp(x))),
        {},
    ),
}


@pytest.mark.parametrize("target", TARGETS)
def test_nearly_all_bytes_are_those_of_the_exact_function(target: str, tmp_path: Path) -> None:
    cases, exact = [], []
    for name, (nodes, function, constants) in FORMS.items():
        for dtype, zero in (("uint8", 9), ("int8", -100), ("int8", 0)):
            x = np.clip(arguments(-6, 6), -20, 20)
            largest = float(function(np.float64(6)))
            scale = largest / (np.iinfo(dtype).max - zero) * 1.03
            cases.append(quantised(f"{name} {dtype} {zero}", nodes, x, scale, zero, dtype, **constants))
            exact.append(steps(function(x.astype(np.float64)), scale, zero, dtype))
    for case, wanted, found in zip(cases, exact, results(cases, target, tmp_path), strict=True):
        apart = np.abs(found.astype(int) - wanted)
        assert apart.max() <= 1 and np.mean(apart > 0) < 0.01, (case.name, apart.max(), np.mean(apart > 0))


@pytest.mark.parametrize("target", TARGETS)
def test_infinities_and_large_numbers(target: str, tmp_path: Path) -> None:
    cases = [quantised(op, [helper.make_node(op, ["x"], ["v"])], arguments(-6, 6), 1 / 126, 0, "int8") for op in EXACT]
    for case, found in zip(cases, results(cases, target, tmp_path), strict=True):
        with np.errstate(over="ignore"):
            wanted = np.clip(np.rint(EXACT[case.name](EDGES.astype(np.float64)) * 126), -128, 127)
        np.testing.assert_array_equal(found.ravel()[: EDGES.size], wanted, case.name)


def rounded(value: Any) -> Any:
    whole = tirx.nearbyint(value) + tirx.const(3.0, "float32")
    return tirx.max(tirx.min(whole, tirx.const(255.0, "float32")), tirx.const(0.0, "float32")).astype("uint8")


def test_constants_inside_a_kernel(tmp_path: Path) -> None:
    """Padding makes part of the arguments zeros that the compiler sees."""
    x = np.linspace(-3, 3, 160, dtype=np.float32)
    cases = []
    for op in EXACT:
        nodes = [helper.make_node("Pad", ["x", "pads"], ["p"]), helper.make_node(op, ["p"], ["v"])]
        case = quantised(op, nodes, x, 1 / 100, 0, "int8")
        cases.append(replace(case, constants={**case.constants, "pads": np.array([48, 64])}))
    for case, found in zip(cases, results(cases, "host", tmp_path), strict=True):
        wanted = steps(EXACT[case.name](np.pad(x, (48, 64)).astype(np.float64)), 1 / 100, 0, "int8")
        assert np.abs(found - wanted).max() <= 1, case.name


@pytest.mark.parametrize(
    ("element", "short"),
    [
        (lambda v: rounded(v * tirx.sigmoid(v)), True),
        (lambda v: rounded(tirx.sigmoid(v) / tirx.const(0.3, "float32")), True),
        (lambda v: v * tirx.sigmoid(v), False),
        (lambda v: rounded(v / tirx.const(0.3, "float32")), False),
    ],
)
def test_only_what_is_rounded_is_approximate(element: Callable[[Any], Any], short: bool) -> None:
    target, x = load_target("raspberry-pi-4"), te.placeholder((64,), name="x")
    made = schedule(
        te.create_prim_func([x, te.compute((64,), lambda i: element(x[i]))], index_dtype_override="int64"), target
    )
    assert ("frecpe" in lower_kernel(made.func, "kernel", target).script()) == short


def test_sums_and_products_stay_exact() -> None:
    """Those of no function are divided by their step, not multiplied by its reciprocal."""
    target, x = load_target("x86-64-v3"), te.placeholder((64,), name="x")
    result = te.compute((64,), lambda i: rounded((x[i] * x[i] + x[i]) / tirx.const(0.3, "float32")))
    made = schedule(te.create_prim_func([x, result], index_dtype_override="int64"), target)
    assert 'llvm.fma"' in lower_kernel(made.func, "kernel", target).script()
