"""GridSample as sums of pixels, beside onnx's reference implementation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from compiler import compile_model
from compiler.frontend.domains import PROGRAMS
from compiler.runtime.loader import Model
from tests.frontend.checks import prepared
from tests.models import model, node

SHAPES = [([2, 3, 5, 4], [3, 2]), ([1, 1, 1, 6], [2, 5]), ([2, 2, 4, 1], [1, 7]), ([1, 20, 7, 9], [4, 4])]
FORMS = list(itertools.product(("zeros", "border", "reflection"), (0, 1)))

# Around one value the reference divides by zero.
IMAGES = [(*shape, *form) for shape in SHAPES for form in FORMS if form != ("reflection", 1) or 1 not in shape[0][2:]]


class Sample(OpRun):
    op_domain = PROGRAMS

    def _run(self, data: np.ndarray, *given: np.ndarray, taps: Any = None, **types: Any) -> Any:
        places, weights = given[: sum(taps)], given[sum(taps) :]
        axes = [range(sum(taps[:axis]), sum(taps[: axis + 1])) for axis in range(len(taps))]
        images = np.arange(len(data))[:, None]
        total = np.zeros([*places[0].shape, data.shape[-1]], data.dtype)
        for pixel in itertools.product(*axes):
            weight = np.prod([weights[tap] for tap in pixel], axis=0) if weights else np.ones_like(places[0])
            total += data[(images, *(places[tap] for tap in pixel))] * weight[..., None].astype(data.dtype)
        return (total,)


def arrays(shape: list[int], results: list[int], most: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    grid = rng.uniform(-most, most, (shape[0], *results, len(shape) - 2))
    grid.reshape(-1)[:5] = [-1, 1, 0, -1 + 1 / shape[-1], 1 - 1 / shape[-1]]  # ends and centres
    return {"x": rng.standard_normal(shape).astype(np.float32), "grid": grid.astype(np.float32)}


def check(mode: str, padding: str, aligned: int, inputs: dict[str, np.ndarray], tolerance: float) -> None:
    proto = network(mode, padding, aligned, inputs)
    (expected,) = ReferenceEvaluator(proto).run(None, inputs)
    np.testing.assert_allclose(composed(proto, inputs), expected, rtol=tolerance, atol=tolerance)


def network(mode: str, padding: str, aligned: int, inputs: dict[str, np.ndarray]) -> onnx.ModelProto:
    one = node("GridSample", "x grid", "y", mode=mode, padding_mode=padding, align_corners=aligned)
    return model([one], {name: list(array.shape) for name, array in inputs.items()}, ["y"], opset=20)


def composed(proto: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the graph that stands for it computes."""
    made = prepared(proto).proto
    assert "GridSample" not in {one.op_type for one in made.graph.node}
    made.opset_import.append(helper.make_opsetid(PROGRAMS, 1))
    return ReferenceEvaluator(made, new_ops=[Sample]).run(None, inputs)[0]


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


@pytest.mark.parametrize("shape", [[1, 2, 1, 5], [1, 1, 4, 1], [2, 1, 1, 1]])
def test_a_mirror_around_one_value(shape: list[int]) -> None:
    """Within the image nothing is reflected."""
    inputs = arrays(shape, [3, 2], 1.0)
    (expected,) = ReferenceEvaluator(network("linear", "border", 1, inputs)).run(None, inputs)
    np.testing.assert_allclose(composed(network("linear", "reflection", 1, inputs), inputs), expected, rtol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_what_is_nowhere_reads_nothing_outside(mode: str, padding: str, tmp_path: Path) -> None:
    """NaNs and infinities; and what kernels compute of the rest is right."""
    inputs = arrays([2, 20, 5, 4], [6, 4], 1.5)
    proto = network(mode, padding, 0, inputs)
    path = compile_model(proto, "host", tmp_path / "net.so").path
    (expected,) = ReferenceEvaluator(proto).run(None, inputs)
    strange = dict(inputs, grid=inputs["grid"].copy())
    strange["grid"][:, :3] = np.array([np.nan, np.inf, -np.inf, 3e38], np.float32)[:, None]
    with Model(path) as loaded:
        result, beside = loaded.run(inputs)["y"], loaded.run(strange)["y"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(beside[:, :, 3:], result[:, :, 3:])
