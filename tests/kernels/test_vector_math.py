"""The polynomials for exp, tanh, erf, log and sigmoid: their stated accuracy, and what libm does at the edges."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tvm_ffi
from onnx import TensorProto, helper
from tvm import s_tir, te, tirx

from compiler.build.codegen import lower_kernel
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import load_target
from compiler.target_detect import missing_here, running_machine
from tests.networks import model

COUNT = 1 << 14
REFERENCE = {
    "Exp": np.exp,
    "Tanh": np.tanh,
    "Erf": np.vectorize(math.erf, otypes=[np.float64]),
    "Log": np.log,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Sin": np.sin,
    "Cos": np.cos,
}
# The promises of compiler/kernels/vector_math.py.
RELATIVE = {"Exp": 1.2e-7, "Tanh": 3.5e-7, "Sigmoid": 2.5e-7}
ABSOLUTE = {"Erf": 4.5e-7, "Sin": 1.3e-7, "Cos": 1.3e-7}
RANGES = [
    (-110, 95),
    (-5, 5),
    (-0.01, 0.01),
    (0.5, 2),
    (1e-30, 1e-20),
    (1e20, 3e38),
    (-20, 20),
    (-12867, 12867),
    (-20000, 20000),
]


def network() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node(op, ["x"], [op]) for op in REFERENCE]
    outputs = [value(op, TensorProto.FLOAT, [COUNT]) for op in REFERENCE]
    return model(nodes, [value("x", TensorProto.FLOAT, [COUNT])], outputs)


@pytest.fixture(scope="module", params=["host", "x86-64-v2"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    target = load_target(request.param)
    if target.machine != running_machine() or missing_here(target):
        pytest.skip(f"{target.name} code does not run here")
    artifact = compile_model(network(), target, tmp_path_factory.mktemp("math") / "math.so", verify=False)
    return Model(artifact.path, threads=1)


@pytest.mark.parametrize("interval", RANGES)
def test_errors_stay_within_what_is_promised(loaded: Model, interval: tuple[float, float]) -> None:
    x = np.random.default_rng(0).uniform(*interval, COUNT).astype(np.float32)
    results = loaded.run({"x": x})
    for op, reference in REFERENCE.items():
        with np.errstate(all="ignore"):
            exact = reference(x.astype(np.float64))
        fits = np.isfinite(exact) & (np.abs(exact) < 3.4e38) & (np.abs(exact) > 1.7e-38)
        error = np.abs(results[op][fits] - exact[fits])
        if op == "Log":
            assert (error <= np.maximum(1.2e-7 * np.abs(exact[fits]), 1e-7)).all()
        elif op in ABSOLUTE:
            assert error.max(initial=0) <= ABSOLUTE[op], op
        else:
            assert (error <= RELATIVE[op] * np.abs(exact[fits])).all(), op


def test_infinities_nans_and_zeros_are_those_of_libm(loaded: Model) -> None:
    x = np.zeros(COUNT, np.float32)
    x[:9] = [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 88.8, 1e-40, -104.5]
    results = loaded.run({"x": x})
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(results["Exp"][:5], [np.nan, np.inf, 0, 1, 1])
        np.testing.assert_array_equal(results["Exp"][[6, 8]], [np.inf, 0])
        for op in ("Tanh", "Erf"):
            np.testing.assert_allclose(results[op][:5], [np.nan, 1, -1, 0, 0], rtol=4e-7)
        np.testing.assert_array_equal(results["Log"][:6], [np.nan, np.inf, np.nan, -np.inf, -np.inf, np.nan])
        np.testing.assert_allclose(results["Log"][7], np.log(np.float64(np.float32(1e-40))), rtol=1e-6)
        np.testing.assert_array_equal(results["Sigmoid"][:4], [np.nan, 1, 0, 0.5])


def test_sines_of_all_magnitudes_in_one_vector(loaded: Model) -> None:
    x = np.exp(np.random.default_rng(0).uniform(-80, 88, COUNT)).astype(np.float32)
    x[::2] *= -1
    x[:8] = [np.nan, np.inf, -np.inf, 0.0, 1e-40, 12867.0, 12868.0, 3.4e38]
    results = loaded.run({"x": x})
    np.testing.assert_array_equal(results["Sin"][:4], [np.nan, np.nan, np.nan, 0])
    np.testing.assert_array_equal(results["Cos"][:5], [np.nan, np.nan, np.nan, 1, 1])
    argument = x[3:].astype(np.float64)
    np.testing.assert_allclose(results["Sin"][3:], np.sin(argument), rtol=0, atol=1.3e-7)
    np.testing.assert_allclose(results["Cos"][3:], np.cos(argument), rtol=0, atol=1.3e-7)
    small = np.abs(argument) < 3
    np.testing.assert_allclose(results["Sin"][3:][small], np.sin(argument[small]), rtol=1.5e-7)


def test_sines_around_their_zeros_and_extremes(loaded: Model) -> None:
    rng = np.random.default_rng(0)
    x = (rng.integers(1, 8192, COUNT) * rng.choice([-np.pi / 2, np.pi / 2], COUNT)).astype(np.float32)
    x = (x.view(np.int32) + rng.integers(-3, 4, COUNT, np.int32)).view(np.float32)  # and their neighbours
    results = loaded.run({"x": x})
    for op in ("Sin", "Cos"):
        np.testing.assert_allclose(results[op], REFERENCE[op](x.astype(np.float64)), rtol=0, atol=1.3e-7)
        assert np.abs(results[op]).max() <= 1  # of which there are arcs, and roots of what is left


def test_the_exponential_of_softmax(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    shape = [COUNT, 16]  # a row that the rule for them takes
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=-1)]
    network_ = model(nodes, [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)])
    artifact = compile_model(network_, load_target("host"), tmp_path / "softmax.so", verify=False)
    x = np.full(shape, -np.inf, np.float32)
    x[:, 0] = 0
    x[:, 1] = np.random.default_rng(0).uniform(-87, 0, COUNT)
    x[:4, 1] = [-np.inf, -3.4e38, -87.5, 0]
    with Model(artifact.path, threads=1) as loaded:
        result = loaded.run({"x": x})["y"]
    np.testing.assert_array_equal(result[:4, :2], [[1, 0], [1, 0], [1, 0], [0.5, 0.5]])
    argument = x[4:, 1].astype(np.float64)
    exact = np.exp(argument) / (1 + np.exp(argument))
    assert (np.abs(result[4:, 1] - exact) <= (3e-7 - 1e-7 * argument) * exact).all()


def test_constants_inside_a_kernel(tmp_path: Path) -> None:
    """Padding makes part of the arguments zeros that the compiler sees."""
    value = helper.make_tensor_value_info
    pads = helper.make_tensor("pads", TensorProto.INT64, [2], [3, 40])
    nodes = [helper.make_node("Pad", ["x", "pads"], ["p"])]
    nodes += [helper.make_node(op, ["p"], [op]) for op in REFERENCE]
    outputs = [value(op, TensorProto.FLOAT, [63]) for op in REFERENCE]
    net = model(nodes, [value("x", TensorProto.FLOAT, [20])], outputs, [pads])
    artifact = compile_model(net, "host", tmp_path / "pad.so", verify=False)
    x = np.linspace(0.5, 2, 20, dtype=np.float32)
    with Model(artifact.path) as loaded:
        results = loaded.run({"x": x})
    for op, reference in REFERENCE.items():
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(results[op], reference(np.pad(x, (3, 40))), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["exp", "tanh", "erf", "log", "sigmoid", "sin", "cos", "nearbyint", "sqrt"])
def test_loops_over_them_are_vectors(name: str) -> None:
    """Not left to LLVM's vectoriser, which some kernels must do without."""
    x = te.placeholder((64,), "float32", name="x")
    sch = s_tir.Schedule(te.create_prim_func([x, te.compute((64,), lambda i: getattr(tirx, name)(x[i]), name="y")]))
    _, lane = sch.split(sch.get_loops(sch.get_sblock("y"))[0], [None, 16])
    sch.vectorize(lane)
    stores: list[Any] = []
    (lowered,) = lower_kernel(sch.mod["main"], "kernel", load_target("host")).functions.values()
    tvm_ffi.structural_walk(lowered.body, [(tirx.BufferStore, stores.append)])
    assert stores and all(isinstance(store.indices[0], tirx.Ramp) for store in stores)


def test_the_error_function_of_doubles(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    inputs, outputs = ([value(name, TensorProto.DOUBLE, [3, 37])] for name in "xy")
    artifact = compile_model(model([helper.make_node("Erf", ["x"], ["y"])], inputs, outputs), "host", tmp_path / "e.so")
    x = np.linspace(-3, 3, 111).reshape(3, 37)
    with Model(artifact.path) as loaded:
        np.testing.assert_allclose(loaded.run({"x": x})["y"], REFERENCE["Erf"](x), rtol=1e-14)
