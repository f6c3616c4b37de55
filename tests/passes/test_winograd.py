"""Winograd convolutions: the transforms' algebra, where they are used, and their results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compiler.passes.winograd import _AT, _BT, choose_tile, transform_weight
from compiler.pipeline import compile_model
from tests.networks import model


@pytest.mark.parametrize("m", [2, 4])
def test_the_matrices_are_those_of_a_convolution(m: int) -> None:
    """Up to the rounding of the weights to float32."""
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal((m + 2, m + 2)), rng.standard_normal((3, 3))
    u = transform_weight(g[:, :, None, None], m).reshape(m + 2, m + 2)
    y = _AT[m] @ (u * (_BT[m] @ d @ _BT[m].T)) @ _AT[m].T
    windows = np.lib.stride_tricks.sliding_window_view(d, (3, 3))
    np.testing.assert_allclose(y, np.einsum("ijkl,kl->ij", windows, g), atol=1e-5)


@given(st.tuples(st.integers(1, 2), st.integers(1, 300), st.integers(1, 300), st.integers(1, 600)), st.integers(1, 600))
def test_the_choice_multiplies_less_and_keeps_weights_small(shape: tuple[int, int, int, int], inputs: int) -> None:
    n, height, width, outputs = shape
    m = choose_tile(shape, inputs)
    assert m in (0, 2, 4)
    if m:
        tiles = n * -(-height // m) * -(-width // m)
        assert tiles * (m + 2) ** 2 < 9 * n * height * width
        assert (m + 2) ** 2 * inputs * outputs * 4 <= 5 << 20


@pytest.mark.parametrize("shape,inputs", [((1, 56, 56, 3), 3), ((1, 1, 1, 64), 64), ((1, 2, 2, 64), 64)])
def test_it_is_not_used_for_few_channels_or_small_images(shape: tuple[int, ...], inputs: int) -> None:
    assert choose_tile(shape, inputs) == 0


# Batch, input channels, output channels, height, width, padding: with both sizes of tiles, whole and partial ones.
CASES = [
    (1, 32, 32, 28, 28, 1),
    (2, 33, 47, 13, 11, 1),
    (1, 16, 29, 9, 30, 0),
    (1, 300, 150, 7, 9, 1),  # too many weights for tiles of 4
    (1, 17, 64, 8, 5, 2),
]


def cases() -> onnx.ModelProto:
    """Convolutions over inputs of their own, with a residual, an activation, and nothing behind them."""
    rng = np.random.default_rng(1)
    value, nodes, inputs, outputs, weights = helper.make_tensor_value_info, [], [], [], []
    for number, (n, i, o, h, w, pad) in enumerate(CASES):
        x, y, r = (f"{letter}{number}" for letter in "xyr")
        kernel = (rng.standard_normal((o, i, 3, 3)) / np.sqrt(9 * i)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        weights.append(numpy_helper.from_array(rng.standard_normal(o).astype(np.float32), f"b{number}"))
        inputs.append(value(x, TensorProto.FLOAT, [n, i, h, w]))
        size = [n, o, h + 2 * pad - 2, w + 2 * pad - 2]
        conv = helper.make_node("Conv", [x, f"w{number}", f"b{number}"], [f"c{number}"], pads=[pad] * 4)
        if number % 3 == 0:
            inputs.append(value(r, TensorProto.FLOAT, size))
            after = [("Add", [f"c{number}", r], f"s{number}"), ("Relu", [f"s{number}"], y)]
        elif number % 3 == 1:
            after = [("Sigmoid", [f"c{number}"], f"s{number}"), ("Mul", [f"c{number}", f"s{number}"], y)]
        else:
            after = [("Identity", [f"c{number}"], y)]
        nodes += [conv, *(helper.make_node(op, read, [write]) for op, read, write in after)]
        outputs.append(value(y, TensorProto.FLOAT, size))
    return model(nodes, inputs, outputs, weights)


@pytest.mark.parametrize(
    "target",
    [
        "host",
        "x86-64-v2",
        "x86-64-v3",
        pytest.param("raspberry-pi-5", marks=pytest.mark.arm),
        pytest.param("generic-armv7", marks=pytest.mark.arm),
    ],
)
def test_results_equal_the_reference(target: str, tmp_path: Path) -> None:
    artifact = compile_model(cases(), target, tmp_path / "a.so")
    if artifact.verified == "not run":
        pytest.skip(artifact.manifest["verification"]["reason"])
    result = artifact.manifest["verification"]
    assert result["status"] == "passed", result
    assert result["max_error"] < 3e-5
    rules = [kernel["rule"] for kernel in artifact.manifest["kernels"]]
    assert rules.count("winograd") == len(CASES)


def test_a_fast_plain_way_leaves_it_the_layers_that_gain_most() -> None:
    shapes = {channels: [1, 16, 16, channels] for channels in (8, 16, 32, 64, 128)}
    usual = {channels for channels, shape in shapes.items() if choose_tile(shape, channels)}
    rest = {channels for channels, shape in shapes.items() if choose_tile(shape, channels, speed=2)}
    assert rest < usual
    assert 128 in rest
