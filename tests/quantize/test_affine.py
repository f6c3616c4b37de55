"""Batch normalisations and constants become part of products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.models import model, node
from tests.quantize.convolutions import floats, operators, run, samples, weights

_NORM = {"scale": np.float32([1, -2, 0.5, 3]), "shift": np.float32([0, 1, 2, -1]), "mean": np.float32([1, 0, -1, 2])}
_CHANNELS: dict[str, Any] = _NORM | {"var": np.float32([1, 0.25, 4, 0]), "row": np.float32([[1], [2], [-3], [4]])}


def folded(nodes: list[Any], constants: dict[str, Any], shape: tuple[int, ...] = (2, 6, 5), **more: Any) -> list[str]:
    """The operators of the float model, after comparing its results with the given one's."""
    given = model(nodes, {"x": list(shape)}, more.pop("outputs", ["y"]), _CHANNELS | constants)
    made = floats(given).proto
    for feeds in samples(given, 2):
        for name, expected in run(given, feeds).items():
            assert np.allclose(run(made, feeds)[name], expected, rtol=1e-5, atol=1e-5)
    return operators(made)


@pytest.mark.parametrize("group", [1, 2])
def test_convolution_takes_a_chain_in(group: int) -> None:
    chain = [
        node("Conv", "x w", "c", group=group),
        node("BatchNormalization", "c scale shift mean var", "n", epsilon=0.01),
        node("Mul", "row n", "m"),
        node("Sub", "m row", "y"),
    ]
    assert folded(chain, weights(w=(4, 6 // group, 3))) == ["Conv"]


@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolution(group: int) -> None:
    chain = [
        node("ConvTranspose", "x w b", "c", group=group),
        node("BatchNormalization", "c scale shift mean var", "y"),
    ]
    assert folded(chain, weights(w=(6, 4 // group, 3), b=(4,))) == ["ConvTranspose"]


@pytest.mark.parametrize("across", [0, 1])
def test_gemm_with_its_factors(across: int) -> None:
    chain = [
        node("Gemm", "x w b", "g", alpha=0.5, beta=3.0, transB=across),
        node("BatchNormalization", "g scale shift mean var", "y"),
    ]
    constants = weights(w=(4, 6) if across else (6, 4), b=(1, 4))
    assert folded(chain, constants, (3, 6)) == ["Gemm"]


def test_what_is_read_elsewhere_stays() -> None:
    chain = [node("Conv", "x w", "c"), node("Mul", "c row", "y")]
    assert folded(chain, weights(w=(4, 6, 3)), outputs=["c", "y"]) == ["Conv", "Mul"]
    both = [node("Conv", "x w", "c"), node("Mul", "c row", "m"), node("Add", "c m", "y")]
    assert folded(both, weights(w=(4, 6, 3))) == ["Conv", "Mul", "Add"]


def test_constants_that_differ_along_other_axes_stay() -> None:
    chain = [node("Conv", "x w", "c"), node("Add", "c places", "y")]
    assert folded(chain, weights(w=(4, 6, 3), places=(4, 3))) == ["Conv", "Add"]
    wider = [node("Conv", "x w", "c"), node("Add", "c many", "y")]
    assert folded(wider, weights(w=(4, 6, 3), many=(5, 1, 4, 1)), (2, 6, 5)) == ["Conv", "Add"]


def test_division_from_the_left_stays() -> None:
    chain = [node("Conv", "x w b", "c"), node("Div", "row c", "y")]
    assert folded(chain, weights(w=(4, 6, 3)) | {"b": np.full(4, 50, np.float32)}) == ["Conv", "Div"]


def test_shared_weights_are_not_changed_for_others() -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Mul", "c row", "y"),
        node("Conv", "x w", "z"),
    ]
    assert folded(nodes, weights(w=(4, 6, 3)), outputs=["y", "z"]) == ["Conv", "Conv"]


def test_every_node_has_a_name_of_its_own() -> None:
    given = model([node("Relu", "x", "a"), node("Neg", "a", "y")], {"x": [2]}, ["y"])
    for one in given.graph.node:
        one.name = "same"
    assert [one.name for one in floats(given).proto.graph.node] == ["same", "y"]
