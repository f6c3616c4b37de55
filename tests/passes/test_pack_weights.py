"""Weights are packed, and the kernels that read them compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compiler.kernels.areas import rows_of_tile
from compiler.kernels.limits import Limits, limits_of
from compiler.kernels.packed import block_width
from compiler.passes.pack_weights import pack
from compiler.pipeline import compile_model
from compiler.target import list_targets, load_target
from compiler.verify.artifact import verify
from tests.networks import model


@given(st.integers(1, 70), st.integers(1, 5), st.sampled_from([4, 8, 16, 32]))
def test_packing_keeps_every_weight_and_fills_with_zeros(channels: int, inputs: int, width: int) -> None:
    weight = np.arange(1, 3 * inputs * channels + 1, dtype=np.float32).reshape(3, inputs, channels)
    packed = pack(weight, width)
    assert packed.shape == (-(-channels // width), 3, inputs, width)
    assert packed.flags.c_contiguous
    flat = np.moveaxis(packed, 0, -2).reshape(3, inputs, -1)
    np.testing.assert_array_equal(flat[..., :channels], weight)
    assert not flat[..., channels:].any()


@pytest.mark.parametrize("target", [t.name for t in list_targets()])
@given(rows=st.integers(1, 4000), channels=st.integers(1, 300))
def test_a_tile_fits_the_registers(target: str, rows: int, channels: int) -> None:
    limits = limits_of(load_target(target))
    width = block_width(channels, limits)
    mr = rows_of_tile(rows, width, limits)
    assert 1 <= mr <= rows
    vectors = -(-width // limits.lanes)
    assert mr * vectors + vectors + 1 <= limits.registers


CHANNELS = (1, 3, 10, 16, 17, 32, 35, 58, 65)  # for three vectors of 4, 8 and 16 lanes too


def cases() -> onnx.ModelProto:
    """Products and convolutions of ugly sizes over two inputs, each with an epilogue of its own."""
    rng = np.random.default_rng(3)
    nodes, outputs, weights = [], [], []
    value = helper.make_tensor_value_info

    def weight(*shape: int) -> str:
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array((rng.standard_normal(shape) / 4).astype(np.float32), name))
        return name

    def output(name: str) -> None:
        outputs.append(helper.make_empty_tensor_value_info(name))
        outputs[-1].type.tensor_type.elem_type = TensorProto.FLOAT

    for channels in CHANNELS:
        for kernel, attrs in ((1, {}), (3, {"pads": [1, 1, 1, 1]}), (2, {"strides": [2, 1], "dilations": [1, 2]})):
            name = f"conv{channels}_{kernel}"
            nodes.append(helper.make_node("Conv", ["image", weight(channels, 5, kernel, kernel)], [name], **attrs))
            nodes.append(helper.make_node("Relu", [name], [f"{name}_relu"]))
            output(f"{name}_relu")
        name = f"product{channels}"
        nodes.append(helper.make_node("MatMul", ["tokens", weight(6, channels)], [name]))
        nodes.append(helper.make_node("Add", [name, weight(channels)], [f"{name}_sum"]))
        nodes.append(helper.make_node("Tanh", [f"{name}_sum"], [f"{name}_tanh"]))
        output(f"{name}_tanh")
    inputs = [value("image", TensorProto.FLOAT, [2, 5, 11, 13]), value("tokens", TensorProto.FLOAT, [2, 37, 6])]
    return model(nodes, inputs, outputs, weights)


@pytest.mark.parametrize(
    "target", ["host", "x86-64-v2", "x86-64-v3", pytest.param("generic-armv7", marks=pytest.mark.arm)]
)
def test_results_equal_the_reference(target: str, tmp_path: Path) -> None:
    network = cases()
    artifact = compile_model(network, target, tmp_path / "a.so", verify=True)
    if artifact.verified == "not run":
        pytest.skip(artifact.manifest["verification"]["reason"])
    result = artifact.manifest["verification"]
    assert result["status"] == "passed", result
    assert result["max_error"] < 1e-5
    rules = [k["rule"] for k in artifact.manifest["kernels"] for _call in range(k["calls"]) if k["rule"] != "injective"]
    dots = sum(inputs >= load_target(target).simd_bits // 32 for inputs in (5, 6))
    assert rules.count("packed") == 4 * len(CHANNELS) - dots and rules.count("rows") == dots


@pytest.mark.parametrize(("rows", "inputs"), [((1,), 16), ((3, 5), 50), ((2, 4, 4), 2000)])
def test_a_product_of_one_column_is_a_sum_of_each_row(rows: tuple[int, ...], inputs: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((inputs, 1)).astype(np.float32)
    graph = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Sigmoid", ["p"], ["y"])]
    shape = [*rows, inputs]
    x, y = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size)]
        for name, size in (("x", shape), ("y", [*rows, 1]))
    )
    network = model(graph, x, y, [numpy_helper.from_array(weight, "w")])
    artifact = compile_model(network, "host", tmp_path / "a.so", verify=True)
    assert artifact.verified == "passed"
    assert [k["rule"] for k in artifact.manifest["kernels"]] == ["rows"]
    memory = artifact.manifest["memory"]
    assert memory.get("unpacked_bytes", memory["weights_bytes"]) == -(-inputs * 4 // 64) * 64


@pytest.mark.parametrize(
    ("data", "weights", "result"),
    [((7,), (7,), ()), ((3, 7), (7,), (3,)), ((7,), (7, 5), (5,)), ((7,), (2, 7, 5), (2, 5))],
)
def test_products_of_vectors(data: list[int], weights: list[int], result: list[int], tmp_path: Path) -> None:
    weight = np.random.default_rng(6).standard_normal(weights).astype(np.float32)
    x, y = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size)] for name, size in (("x", data), ("y", result))
    )
    network = model([helper.make_node("MatMul", ["x", "w"], ["y"])], x, y, [numpy_helper.from_array(weight, "w")])
    assert compile_model(network, "host", tmp_path / "a.so", verify=True).verified == "passed"


def test_little_of_a_block_is_for_nothing() -> None:
    channels = (1, 4, 5, 8, 9, 17, 25, 33, 49)
    widths = {lanes: [block_width(n, Limits(lanes, 32)) for n in channels] for lanes in (4, 8, 16)}
    assert widths == {
        4: [4, 4, 8, 8, 12, 8, 8, 8, 8],
        8: [4, 4, 8, 8, 16, 24, 16, 16, 16],
        16: [4, 4, 8, 8, 16, 32, 32, 48, 32],
    }


def test_what_does_not_fit_stays_as_it_was(tmp_path: Path) -> None:
    """Two inputs multiplied, a double, and a grouped convolution are no business of this pass."""
    value = helper.make_tensor_value_info
    grouped = numpy_helper.from_array(np.ones((4, 2, 3, 3), np.float32), "g")
    double = numpy_helper.from_array(np.ones((4, 4), np.float64), "d")
    network = model(
        [
            helper.make_node("MatMul", ["a", "b"], ["ab"]),
            helper.make_node("MatMul", ["c", "d"], ["cd"]),
            helper.make_node("Conv", ["e", "g"], ["eg"], group=2),
        ],
        [
            value("a", TensorProto.FLOAT, [3, 4]),
            value("b", TensorProto.FLOAT, [4, 5]),
            value("c", TensorProto.DOUBLE, [3, 4]),
            value("e", TensorProto.FLOAT, [1, 4, 5, 5]),
        ],
        [
            value("ab", TensorProto.FLOAT, [3, 5]),
            value("cd", TensorProto.DOUBLE, [3, 4]),
            value("eg", TensorProto.FLOAT, [1, 4, 3, 3]),
        ],
        [grouped, double],
    )
    artifact = compile_model(network, "host", tmp_path / "a.so")
    assert artifact.verified == "passed"
    assert not any("packed" in k["name"] for k in artifact.manifest["kernels"])
    assert verify(artifact.path, network)
