"""Nodes that stay in float beside quantised ones."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.frontend.prepare import Model, load_model
from compiler.quantize.floats import float_model
from compiler.quantize.insert import quantize_model
from compiler.quantize.observe import observe
from compiler.quantize.ranges import Statistics
from compiler.quantize.settings import Settings
from compiler.verify.reference import run_reference
from tests.models import model, node

RNG = np.random.default_rng(3)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def floats() -> tuple[Model, Statistics]:
    """Convolutions of which two read what a MaxPool moves, one reads a sum, and one is added to what it reads."""
    weights = {f"w{i}": RNG.standard_normal((4, 3 if i == 1 else 4, 3, 3)).astype(np.float32) for i in range(1, 5)}
    nodes = [
        node("Conv", "x w1", "a", name="one", pads=[1] * 4),
        node("MaxPool", "a", "m", name="pool", kernel_shape=[2, 2]),
        node("Conv", "m w2", "b", name="two", pads=[1] * 4),
        node("Conv", "m w3", "c", name="three", pads=[1] * 4),
        node("Add", "b c", "d", name="sum"),
        node("Conv", "d w4", "e", name="four", pads=[1] * 4),
        node("Add", "e d", "y", name="residual"),
    ]
    made = float_model(load_model(model(nodes, {"x": list(X.shape)}, ["y"], weights)))
    return made, observe(made, [{"x": X}])


def difference(floats: tuple[Model, Statistics], *keep: str) -> float:
    """Of the model that keeps these nodes, over the largest value."""
    made = quantize_model(floats[0], Settings(keep=frozenset(keep)), floats[1])
    found, wanted = (run_reference(m.proto, {"x": X})[1]["y"] for m in (made, floats[0]))
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("keep", [("three",), ("two", "four"), ("one",), ("pool",), ("residual",), ("sum", "four")])
def test_any_nodes_can_stay(floats: tuple[Model, Statistics], keep: tuple[str, ...]) -> None:
    assert 1e-5 < difference(floats, *keep) < 0.05


def test_nothing_is_lost_when_all_stay(floats: tuple[Model, Statistics]) -> None:
    assert difference(floats, *(n.name for n in floats[0].proto.graph.node)) < 1e-6


def test_a_node_that_stays_reads_floats(floats: tuple[Model, Statistics]) -> None:
    made = quantize_model(floats[0], Settings(keep=frozenset(("four", "residual"))), floats[1])
    inputs = {n.name: list(n.input) for n in made.proto.graph.node}
    assert inputs["four"] == ["d", "w4"]
    assert inputs["residual"] == ["e", "d"]


def test_what_moves_elements_for_a_node_that_stays_moves_floats(floats: tuple[Model, Statistics]) -> None:
    made = quantize_model(floats[0], Settings(keep=frozenset(("three",))), floats[1])
    inputs = {n.name: list(n.input) for n in made.proto.graph.node}
    assert inputs["pool"] == ["a"]
    assert inputs["three"] == ["m", "w3"]
    assert inputs["two"][0] not in ("m", "a")
