"""Multipliers of sums that bfloat16 holds, from scales that are hardly larger than they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler import compile_model
from compiler.build import artifact
from compiler.quantize.multipliers import short_scales
from compiler.quantize.weights import dequantized, quantize_weights
from tests.networks import convnet

Array = np.ndarray[Any, Any]


def is_short(multipliers: Array) -> Array:
    return (multipliers.view(np.uint32) & 0xFFFF) == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 7, 64]))
def test_scales_are_little_larger_and_multipliers_short(seed: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    least = np.exp(rng.uniform(-12, 2, channels)).astype(np.float32)
    data = np.float32(np.exp(rng.uniform(-9, 9)))
    for size in ((), channels):
        result = np.exp(rng.uniform(-9, 9, size)).astype(np.float32)
        scales = short_scales(least, np.asarray(data), result)
        assert scales.dtype == np.float32 and (scales >= 0.999998 * least).all() and (scales <= 1.0701 * least).all()
        multipliers = data * scales / result
        assert (np.ldexp(multipliers[scales != least], 12) % 1 != 0).all()  # few sums end between two results
        small = multipliers < 2.0**-6
        assert small.sum() < 32 or is_short(multipliers[small]).mean() > 0.6


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 3e38])
def test_scales_at_the_edges_of_floats(scale: float) -> None:
    for data in (1e-38, 1.0, 1e38):
        found = short_scales(np.full(3, scale, np.float32), np.asarray(np.float32(data)), np.ones((), np.float32))
        assert np.isfinite(found).all() and (found > 0).all() and np.allclose(found, scale, rtol=0.071)


@pytest.mark.parametrize("axis", [0, 1])
def test_integers_are_rounded_to_the_scales_that_are_chosen(axis: int) -> None:
    weights = np.random.default_rng(0).standard_normal((6, 5, 60)).astype(np.float32)
    one, data = np.ones((), np.float32), np.asarray(np.float32(0.0371))
    integers, scales = quantize_weights(weights, axis, choose=lambda least: short_scales(least, data, one))
    assert is_short(data * scales).all() and 118 <= np.abs(integers).max() <= 127
    step = np.expand_dims(scales, [i for i in range(3) if i != axis])
    assert (np.abs(dequantized(integers, scales, axis) - weights) <= 0.5001 * step).all()


def test_weights_that_were_integers_stay_as_they_were() -> None:
    """Other scales would round them."""
    rng = np.random.default_rng(1)
    integers = rng.integers(-127, 128, (6, 40)).astype(np.int8)
    integers[:, 0] = 127
    scales = rng.uniform(0.01, 0.02, 6).astype(np.float32)
    one, data = np.ones((), np.float32), np.asarray(np.float32(0.0371))
    found, kept = quantize_weights(
        dequantized(integers, scales, 0), 0, choose=lambda least: short_scales(least, data, one)
    )
    assert np.array_equal(found, integers) and np.allclose(kept, scales, rtol=1e-6)


def test_multipliers_of_an_artifact_are_short(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a Relu, before a sum, and where floats are the result."""
    seen: list[Array] = []
    write = artifact.write_weights

    def look(constants: list[Array], *others: Any) -> Any:
        seen.extend(constants)
        return write(constants, *others)

    monkeypatch.setattr(artifact, "write_weights", look)
    samples = {"x": np.random.default_rng(0).standard_normal((4, 3, 9, 9)).astype(np.float32)}
    compile_model(convnet(), out=tmp_path / "a.so", precision="int8", calibration=samples, verify=False)
    by_channel = [array for array in seen if array.dtype == np.float32 and array.size in (5, 7)]
    assert sum(bool(is_short(array).all()) for array in by_channel) >= 3
