"""GridSample as gathers of pixels, beside onnx's reference implementation."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from compiler.runtime.loader import Model
from tests.frontend.checks import prepared
from tests.models import model, node

SHAPES = [([2, 3, 5, 4], [3, 2]), ([1, 1, 1, 6], [2, 5]), ([2, 2, 4, 1], [1, 7]), ([1, 20, 7, 9], [4, 4])]
FORMS = list(itertools.product(("zeros", "border", "reflection"), (0, 1)))

# Around one value the reference divides by zero.
IMAGES = [(*shape, *form) for shape in SHAPES for form in FORMS if form != ("reflection", 1) or 1 not in shape[0][2:]]


def arrays(shape: list[int], results: list[int], most: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    grid = rng.uniform(-most, most, (shape[0], *results, len(shape) - 2))
    grid.reshape(-1)[:5] = [-1, 1, 0, -1 + 1 / shape[-1], 1 - 1 / shape[-1]]  # ends and centres
    return {"x": rng.standard_normal(shape).astype(np.float32), "grid": grid.astype(np.float32)}


def check(mode: str, padding: str, aligned: int, inputs: dict[str, np.ndarray], tolerance: float) -> None:
    one = node("GridSample", "x grid", "y", mode=mode, padding_mode=padding, align_corners=aligned)
    proto = model([one], {name: list(array.shape) for name, array in inputs.items()}, ["y"], opset=20)
    made = prepared(proto).proto
    assert "GridSample" not in {one.op_type for one in made.graph.node}
    (expected,), (result,) = (ReferenceEvaluator(one).run(None, inputs) for one in (proto, made))
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(("shape", "results", "padding", "aligned"), IMAGES, ids=str)
def test_images(mode: str, shape: list[int], results: list[int], padding: str, aligned: int) -> None:
    check(mode, padding, aligned, arrays(shape, results, 1.7), 1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("padding", "aligned"), FORMS)
def test_volumes(mode: str, padding: str, aligned: int) -> None:
    check(mode, padding, aligned, arrays([2, 3, 4, 3, 5], [2, 3, 2], 1.5), 1e-5)


@pytest.mark.parametrize(("padding", "aligned"), FORMS)
def test_far_away(padding: str, aligned: int) -> None:
    """Floats leave a thousandth of a pixel there."""
    check("linear", padding, aligned, arrays([1, 2, 5, 4], [3, 3], 300.0), 5e-3)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_what_is_nowhere_reads_nothing_outside(mode: str, padding: str, tmp_path: Path) -> None:
    """NaNs and infinities; and what is computed here is what the reference computes of the same graph."""
    one = node("GridSample", "x grid", "y", mode=mode, padding_mode=padding)
    inputs = arrays([2, 20, 5, 4], [6, 4], 1.5)
    proto = model([one], {name: list(array.shape) for name, array in inputs.items()}, ["y"], opset=20)
    path = compile_model(proto, "host", tmp_path / "net.so").path
    (expected,) = ReferenceEvaluator(proto).run(None, inputs)
    strange = dict(inputs, grid=inputs["grid"].copy())
    strange["grid"][:, :3] = np.array([np.nan, np.inf, -np.inf, 3e38], np.float32)[:, None]
    with Model(path) as loaded:
        result, beside = loaded.run(inputs)["y"], loaded.run(strange)["y"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(beside[:, :, 3:], result[:, :, 3:])
