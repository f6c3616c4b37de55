"""Weights of 8 and 4 bits: near the floats, small in the artifact, and controlled like any quantisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.errors import UserError
from compiler.pipeline import compile_model
from compiler.quantize.weight_only import pack_groups
from compiler.runtime.loader import Model
from tests.models import model, node

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def unpacked(packed: Array, scales: Array, bits: int) -> Array:
    numbers = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], -1)
    return ((numbers.astype(np.float64) - (1 << (bits - 1))) * scales[..., None]).reshape(len(packed), -1)


@given(st.integers(1, 5), st.integers(1, 4), st.sampled_from([16, 32, 64]), st.sampled_from([4, 8]), st.integers(0, 99))
def test_numbers_are_near_the_weights(rows: int, groups: int, group: int, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((rows, groups * group)) * 10.0 ** rng.integers(-6, 6)).astype(np.float32)
    weights[rng.random(weights.shape) < 0.2] = 0
    packed, scales = pack_groups(weights, bits, group)
    assert packed.shape == (rows, groups, group * bits // 8) and scales.shape == (rows, groups)
    found = unpacked(packed, scales, bits)
    largest = np.repeat(np.abs(weights).reshape(rows, groups, group).max(axis=2), group, axis=1)
    if bits == 8:
        assert np.all(np.abs(found - weights) <= largest / 127 * 0.501)
    else:  # no worse than rounding to sixteenths of the range
        plain = np.rint(weights / np.where(largest, largest, 1) * 7) / 7 * largest
        assert np.square(found - weights).sum() <= np.square(plain - weights).sum() * 1.001
    np.testing.assert_array_equal(found[weights == 0], 0)


def test_weights_that_are_all_zero() -> None:
    for bits in (4, 8):
        packed, scales = pack_groups(np.zeros((2, 32), np.float32), bits, 32)
        assert np.all(unpacked(packed, scales, bits) == 0) and np.all(scales != 0)


def classifier(rows: int = 3) -> onnx.ModelProto:
    """Three products, of which the last has few weights, and one whose inputs are no multiple of 16."""
    nodes = [
        node("MatMul", "x u", "a", name="first"),
        node("Relu", "a", "b"),
        node("Gemm", "b v c", "d", name="second", transB=1),
        node("Tanh", "d", "e"),
        node("MatMul", "e t", "g", name="odd"),
        node("MatMul", "g w", "y", name="last"),
    ]
    shapes = {"u": (128, 192), "v": (150, 192), "c": (150,), "t": (150, 128), "w": (128, 10)}
    constants = {name: (RNG.standard_normal(shape) / 12).astype(np.float32) for name, shape in shapes.items()}
    return model(nodes, {"x": [rows, 128]}, ["y"], constants)


@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights"])
def test_artifacts_have_small_weights_and_near_results(precision: str, tmp_path: Path) -> None:
    proto = classifier()
    artifact = compile_model(proto, "host", tmp_path / "few.so", precision=precision)
    exact = compile_model(proto, "host", tmp_path / "exact.so", verify=False)
    assert artifact.verified == "passed"  # against onnxruntime with the same weights
    assert artifact.manifest["precision"] == precision
    assert [product["node"] for product in artifact.manifest["model"]["floats"]] == ["MatMul 'odd'"]
    assert [k["rule"] for k in artifact.manifest["kernels"]].count("few_bits") == 2
    left, bits = 4 * (150 * 128 + 128 * 10), 4 if precision == "int4-weights" else 8
    few = artifact.manifest["memory"]["weights_bytes"] - left
    assert few < (128 * 192 + 192 * 160) * (bits + 1) / 8 + 4096
    x = RNG.standard_normal((3, 128)).astype(np.float32)
    with Model(artifact.path) as loaded, Model(exact.path) as floats:
        found, expected = loaded.run({"x": x})["y"], floats.run({"x": x})["y"]
    noise = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 0 < noise < (0.2 if bits == 4 else 0.02)


@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights"])
def test_tables_are_small(precision: str, tmp_path: Path) -> None:
    nodes = [
        node("Gather", "words i", "a", name="words"),
        node("Gather", "words j", "b", name="again"),
        node("Gather", "places i", "c", name="places"),
        node("Sum", "a b c", "y"),
    ]
    sizes = {"words": 301, "places": 9}
    tables = {name: RNG.standard_normal((rows, 96)).astype(np.float32) for name, rows in sizes.items()}
    proto = model(nodes, {"i": ([2, 5], "int64"), "j": ([2, 1], "int64")}, ["y"], tables)
    artifact = compile_model(proto, "host", tmp_path / "few.so", precision=precision)
    assert artifact.verified == "passed"
    few = artifact.manifest["memory"]["weights_bytes"] - tables["places"].nbytes
    assert few < 301 * 96 * (9 if precision == "int8-weights" else 5.5) / 8 + 4096
    i, j = RNG.integers(0, 9, (2, 5)), RNG.integers(-301, 301, (2, 1))
    with Model(artifact.path) as loaded:
        found = loaded.run({"i": i, "j": j})["y"]
    want = tables["words"][i] + tables["words"][j] + tables["places"][i]
    assert 0 < np.abs(found - want).max() < (0.05 if precision == "int8-weights" else 0.6)


@pytest.mark.parametrize(("shape", "bias"), [((2, 144, 1, 1), True), ((1, 144, 3, 7), False), ((2, 144, 5), True)])
def test_convolutions_of_few_places_are_products(shape: tuple[int, ...], bias: bool, tmp_path: Path) -> None:
    ones = [1] * (len(shape) - 2)
    held = {"w": RNG.standard_normal((129, 144, *ones)).astype(np.float32) / 12, "b": np.ones(129, np.float32)}
    if not bias:
        del held["b"]
    nodes = [node("Conv", " ".join(["x", *held]), "c", name="conv"), node("Relu", "c", "y")]
    artifact = compile_model(
        model(nodes, {"x": list(shape)}, ["y"], held), "host", tmp_path / "c.so", precision="int8-weights"
    )
    assert artifact.verified == "passed"
    assert "few_bits" in [k["rule"] for k in artifact.manifest["kernels"]]
    x = RNG.standard_normal(shape).astype(np.float32)
    with Model(artifact.path) as loaded:
        found = loaded.run({"x": x})["y"]
    want = np.einsum("nc...,oc->no...", x, held["w"].reshape(129, 144)) + (1 if bias else 0)
    assert 0 < np.abs(found - np.maximum(want, 0)).max() < 0.1


def test_other_convolutions_stay_in_float(tmp_path: Path) -> None:
    held = {"w": RNG.standard_normal((128, 144, 1, 1)).astype(np.float32), "v": np.ones((64, 256), np.float32)}
    nodes = [
        node("Conv", "x w", "a", name="large"),
        node("Conv", "s w", "b", name="strides", strides=[2, 2]),
        node("MatMul", "p v", "c", name="product"),
    ]
    proto = model(nodes, {"x": [1, 144, 10, 10], "s": [1, 144, 3, 3], "p": [1, 64]}, ["a", "b", "c"], held)
    artifact = compile_model(proto, "host", tmp_path / "c.so", precision="int8-weights", verify=False)
    assert {product["node"] for product in artifact.manifest["model"]["floats"]} == {"Conv 'large'", "Conv 'strides'"}


def test_layers_return_to_float_for_a_bound(tmp_path: Path) -> None:
    proto, samples = classifier(1), RNG.standard_normal((8, 128)).astype(np.float32)
    options = {"precision": "int4-weights", "calibration": {"x": samples}, "metric": "cosine", "verify": False}
    free = compile_model(proto, "host", tmp_path / "free.so", **options)
    found = free.manifest["accuracy"]
    assert {layer["name"] for layer in found["layers"]} == {"first", "second"}
    drop = found["float"] - found["quantised"]
    bound = compile_model(proto, "host", tmp_path / "bound.so", max_drop=drop * 0.9, **options)
    assert len(bound.manifest["accuracy"]["layers_in_float"]) == 1
    assert [k["rule"] for k in bound.manifest["kernels"]].count("few_bits") == 1


def test_nothing_to_do(tmp_path: Path) -> None:
    proto = model([node("Relu", "x", "y")], {"x": [2]}, ["y"])
    with pytest.raises(UserError, match="no product"):
        compile_model(proto, "host", tmp_path / "no.so", precision="int8-weights")
