"""Artifacts that take any number of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.errors import UserError
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from tests.models import model, node

WEIGHTS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Model:
    nodes = [node("MatMul", "x w", "m"), node("Softmax", "m", "p"), node("ArgMax", "m", "i", axis=1, keepdims=0)]
    proto = model(nodes, {"x": ["n", 6]}, ["p", "i"], {"w": WEIGHTS})
    artifact = compile_model(proto, out=tmp_path_factory.mktemp("rows") / "m.so")
    assert artifact.verified == "passed" and artifact.manifest["rows"] == [0, 0]
    return Model(artifact.path)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 16, 63, 64, 65, 130, 511, 512, 1200])
def test_every_number_of_rows(loaded: Model, count: int) -> None:
    x = np.random.default_rng(count).standard_normal((count, 6)).astype(np.float32)
    results = loaded.run({"x": x})
    products = x @ WEIGHTS
    powers = np.exp(products - products.max(1, keepdims=True, initial=-np.inf))
    np.testing.assert_allclose(results["p"], powers / powers.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(results["i"], products.argmax(1))
    assert results["p"].shape == (count, 4) and results["i"].dtype == np.int64


@pytest.mark.parametrize("count", [8, 100])
def test_results_go_where_the_caller_says(loaded: Model, count: int) -> None:
    x = np.ones((count, 6), np.float32)
    mine = np.full((count, 4), np.nan, np.float32)
    assert loaded.run({"x": x}, {"p": mine})["p"] is mine
    assert np.isfinite(mine).all()


def test_blocks_take_turns(loaded: Model) -> None:
    """Small and large blocks, again and again, on places that are kept."""
    rng = np.random.default_rng(5)
    for count in (1, 512, 1, 64, 1, 8, 600, 1):
        x = rng.standard_normal((count, 6)).astype(np.float32)
        np.testing.assert_array_equal(loaded.run({"x": x})["i"], (x @ WEIGHTS).argmax(1))


@pytest.mark.parametrize("shape", [(6,), (3, 5), (2, 3, 6), ()])
def test_arrays_of_other_shapes(loaded: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"'x' of \(rows, 6\)"):
        loaded.run({"x": np.zeros(shape, np.float32)})


def test_outputs_of_other_shapes(loaded: Model) -> None:
    with pytest.raises(ValueError, match="'p'"):
        loaded.run({"x": np.zeros((20, 6), np.float32)}, {"p": np.zeros((19, 4), np.float32)})


def test_inputs_of_another_type(loaded: Model) -> None:
    with pytest.raises(TypeError, match="float64 was given"):
        loaded.run({"x": np.zeros((20, 6))})


def test_rows_that_meet_need_a_shape(tmp_path: Path) -> None:
    proto = model([node("Softmax", "x", "y", axis=0)], {"x": ["n", 6]}, ["y"])
    with pytest.raises(UserError) as caught:
        compile_model(proto, out=tmp_path / "m.so")
    assert "Softmax" in caught.value.what and "--shape x=1x6" in (caught.value.fix or "")
    assert not list(tmp_path.iterdir())
    assert "rows" not in compile_model(proto, out=tmp_path / "m.so", shapes={"x": (5, 6)}).manifest


def test_rows_along_other_axes(tmp_path: Path) -> None:
    """Entries of a row one after the other, rows along the second axis, and rows that were joined behind each other."""
    nodes = [
        node("Reshape", "x flat", "each"), node("Transpose", "x", "turned", perm=[1, 0]), node("Neg", "x", "n"),
        node("Concat", "x n", "c", axis=0), node("Reshape", "c two", "r"),
        node("Transpose", "r", "pairs", perm=[1, 0, 2]),
    ]  # fmt: skip
    constants = {"flat": np.array([-1, 3]), "two": np.array([2, -1, 6])}
    proto = model(nodes, {"x": ["n", 6]}, ["each", "turned", "pairs"], constants)
    artifact = compile_model(proto, out=tmp_path / "m.so")
    assert artifact.manifest["rows"] == [0, 1, 0]
    with Model(artifact.path) as loaded:
        for count in (0, 1, 5, 8, 70):
            x = np.random.default_rng(count).standard_normal((count, 6)).astype(np.float32)
            results = loaded.run({"x": x})
            np.testing.assert_array_equal(results["each"], x.reshape(-1, 3))
            np.testing.assert_array_equal(results["turned"], x.T)
            np.testing.assert_array_equal(results["pairs"], np.stack([x, -x], 1))
