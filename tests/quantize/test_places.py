"""Which operators compute with integers, which tensors are stored as 8 bits, and which channels go together."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.quantize.channels import channel_classes
from compiler.quantize.graphs import Graph
from compiler.quantize.places import Places, find_places
from compiler.quantize.settings import Settings
from tests.models import model, node
from tests.quantize.convolutions import floats, weights

_X = {"x": [1, 4, 6, 6]}
_W = weights(w=(4, 4, 1, 1), v=(4, 4, 1, 1), u=(4, 4, 1, 1))


def places(nodes: list[Any], outputs: list[str], more: dict[str, Any] | None = None, keep: str = "") -> Places:
    made = floats(model(nodes, _X, outputs, _W | (more or {})))
    return find_places(Graph(made.proto.graph), Settings(keep=frozenset(keep.split())))


def classes(nodes: list[Any], more: dict[str, Any] | None = None) -> dict[str, list[int]] | None:
    """The classes of the channels of the only group of tensors that moves bind together."""
    made = floats(model(nodes, _X, ["y"], _W | (more or {})))
    graph = Graph(made.proto.graph)
    found = find_places(graph, Settings())
    (names,) = [names for names in found.groups().values() if len(names) > 1]
    result = channel_classes(graph, found, names)
    return None if result is None else {name: one.tolist() for name, one in result.items()}


def test_chains_behind_products_are_not_stored() -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Sigmoid", "c", "s"),
        node("Mul", "c s", "m"),
        node("Add", "m x", "a"),
        node("Conv", "a v", "y"),
    ]
    assert places(nodes, ["y"]).stored.keys() == {"x", "a"}


def test_of_two_products_that_meet_the_later_one_s_result_is_stored() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Conv", "x v", "b"),
        node("Relu", "b", "r"),
        node("Add", "a r", "s"),
        node("Conv", "s u", "y"),
    ]
    assert places(nodes, ["y"]).stored.keys() == {"x", "r", "s"}


def test_what_no_product_reads_later_stays_in_float() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("MaxPool", "a", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", "a", "q", kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", "p q", "y", axis=1),
    ]
    assert places(nodes, ["y"]).stored.keys() == {"x"}


def test_a_kept_layer_takes_its_data_out() -> None:
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "r"), node("Conv", "r v", "b"), node("Conv", "b u", "y")]
    assert places(nodes, ["y"]).stored.keys() == {"x", "r", "b"}
    assert places(nodes, ["y"], keep="b").stored.keys() == {"x", "b"}


def test_what_cannot_be_a_product_of_integers() -> None:
    nodes = [
        node("MatMul", "x x", "a"),  # of two values
        node("Conv", "a w", "b", name="b"),
        node("Gemm", "rows m", "g", transA=1),
        node("MatMul", "x cube", "c"),
    ]
    more = weights(rows=(3, 2), m=(3, 2), cube=(1, 4, 6, 6))
    assert places(nodes, ["b", "g", "c"], more).products.keys() == {"b"}


def test_concatenated_channels_are_their_sources_own() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("MaxPool", "a", "p", kernel_shape=[2, 2]),
        node("Conv", "x v", "b"),
        node("Slice", "b from to", "s"),
        node("Concat", "p s", "c", axis=1),
        node("Conv", "c t", "y"),
    ]
    more: dict[str, Any] = {"from": np.array([0, 1, 0, 0]), "to": np.array([1, 3, 5, 5])} | weights(t=(2, 6, 1, 1))
    found = classes(nodes, more)
    assert found == {"a": [0, 1, 2, 3], "b": [4, 5, 6, 7], "c": [0, 1, 2, 3, 5, 6]}


def test_values_brought_together_have_one_class() -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Conv", "x v", "b"),
        node("Concat", "a b", "c", axis=2),
        node("Conv", "c u", "y"),
    ]
    assert classes(nodes) == {name: [0, 1, 2, 3] for name in "abc"}
    mixed = [
        node("Conv", "x w", "a"),
        node("Transpose", "a", "t", perm=[0, 2, 1, 3]),  # rows become channels: each has values of all of them
        node("Conv", "t t6", "y"),
    ]
    assert classes(mixed, weights(t6=(2, 6, 1, 1))) == {"a": [0] * 4, "t": [0] * 6}


def test_constants_among_the_values_have_no_classes() -> None:
    nodes = [node("Conv", "x w", "a"), node("Concat", "a k", "c", axis=1), node("Conv", "c t", "y")]
    assert classes(nodes, weights(k=(1, 2, 6, 6), t=(2, 6, 1, 1))) is None
