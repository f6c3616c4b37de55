"""Tables of tree ensembles: every decision is that of the nodes in the file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from compiler.frontend.forest import LEAF_BITS, Tables, tables_of
from compiler.frontend.forest_nodes import Ensemble, InvalidForest, leaf_tables, read_ensemble
from tests.frontend.checks import refusal

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
VALUES = (-np.inf, -1.5, -0.0, 0.0, 1e-45, 0.1, 2.0, 3.4028235e38, np.inf, np.nan)


def holds(mode: str, x: Any, value: Any, members: Any) -> bool:
    """What a node asks, as the standard has it."""
    if mode == "BRANCH_MEMBER":
        return bool(np.isin(x, members))
    ask = {"LEQ": np.less_equal, "LT": np.less, "GTE": np.greater_equal, "GT": np.greater, "EQ": np.equal}
    return bool(x != value) if mode == "BRANCH_NEQ" else bool(ask[mode[7:]](x, value))


def leaf_of(e: Ensemble, root: int, row: Any) -> int:
    node = root
    while node >= 0:
        x = row[e.feature[node]]
        yes = holds(e.mode[node], x, e.value[node], e.members.get(node)) or bool(e.tracks[node] and np.isnan(x))
        node = int(e.true[node] if yes else e.false[node])
    return ~node


def walk(tables: Tables, tree: int, row: Any) -> int:
    """The leaf's row in the table, by what operators/forest.py says of the tables."""
    at, depth = (int(n) for n in tables.roots[tree])
    bits = tables.feature_bits + tables.mixed
    for _ in range(depth):
        word = int(tables.words[at])
        x = row[word & (1 << tables.feature_bits) - 1]
        x = -x if tables.mixed and word >> tables.feature_bits & 1 else x
        at = (word >> bits) + int(x <= tables.thresholds[at])
    integer = np.uint32 if tables.thresholds.dtype == np.float32 else np.uint64
    assert np.isnan(tables.thresholds[at]) and int(tables.words[at]) >> bits == at
    return int(tables.thresholds[at : at + 1].view(integer)[0]) & (1 << LEAF_BITS) - 1


@st.composite
def ensembles(draw: st.DrawFn) -> Ensemble:
    """Trees whose children come after them; leaves may be shared."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    nodes, leaves = draw(st.integers(0, 12)), draw(st.integers(1, 5))

    def child(node: int) -> int:
        return draw(st.integers(-leaves, -1) | st.integers(node + 1, nodes - 1) if node < nodes - 1 else
                    st.integers(-leaves, -1))  # fmt: skip

    mode = np.array([draw(st.sampled_from(MODES)) for _ in range(nodes)], dtype=object).astype(str)
    value = np.array([draw(st.sampled_from(VALUES)) for _ in range(nodes)], dtype)
    members = {
        n: np.array(draw(st.lists(st.sampled_from(VALUES[:-1]), max_size=4)), dtype)
        for n in range(nodes)
        if mode[n] == "BRANCH_MEMBER"
    }
    return Ensemble(
        feature=np.array([draw(st.integers(0, 2)) for _ in range(nodes)], np.int64),
        mode=mode,
        value=value,
        tracks=np.array([draw(st.booleans()) for _ in range(nodes)], bool),
        true=np.array([child(n) for n in range(nodes)], np.int64),
        false=np.array([child(n) for n in range(nodes)], np.int64),
        weight=np.zeros(nodes),
        members=members,
        roots=np.array([draw(st.integers(-leaves, nodes - 1)) for _ in range(draw(st.integers(1, 3)))], np.int64),
        leaves=leaves,
        tree_of_leaf=np.zeros(0, np.int64),
        entries=(np.arange(leaves), np.zeros(leaves, np.int64), np.arange(leaves).astype(dtype)),
        columns=1,
        aggregate="SUM",
    )


@given(ensembles(), st.lists(st.sampled_from(VALUES), min_size=3, max_size=3), st.integers(-1, 1))
@settings(max_examples=300, deadline=None)
def test_every_row_reaches_its_leaf(e: Ensemble, row: list[float], aside: int) -> None:
    x = np.array(row, e.value.dtype)
    with np.errstate(over="ignore"):
        x = np.nextafter(x, np.full_like(x, aside * np.inf)) if aside else x
    leaves, _ = leaf_tables(e)
    tables = tables_of(e, leaves, 3)
    for tree, root in enumerate(e.roots):
        assert tables.leaves[walk(tables, tree, x), 0] == leaf_of(e, int(root), x)


def test_equal_parts_are_there_once() -> None:
    e = _stump(1)
    trees = 10
    same = replace(
        e, feature=np.tile(e.feature, trees), mode=np.tile(e.mode, trees), value=np.tile(e.value, trees),
        tracks=np.tile(e.tracks, trees), true=np.tile(e.true, trees), false=np.tile(e.false, trees),
        weight=np.tile(e.weight, trees), roots=np.arange(trees),
    )  # fmt: skip
    tables = tables_of(same, leaf_tables(e)[0], 1)
    assert len(tables.words) == trees + 2  # the roots, and one pair of leaves


def test_what_is_passed_often_stands_first() -> None:
    """Root 0 has the children 1 and 2, with two leaves each."""
    e = replace(
        _stump(4), feature=np.zeros(3, np.int64), mode=np.array(["BRANCH_LEQ"] * 3), tracks=np.zeros(3, bool),
        value=np.array([0.0, -1.0, 1.0], np.float32), true=np.array([1, -1, -3]), false=np.array([2, -2, -4]),
    )  # fmt: skip
    leaves = leaf_tables(e)[0]
    for weight, first in (((10, 1, 9), 2), ((10, 9, 1), 1)):
        tables = tables_of(replace(e, weight=np.array(weight, float)), leaves, 1)
        places = {n: int(tables.words[np.flatnonzero(tables.thresholds == e.value[n])[0]]) for n in (1, 2)}
        assert min(places, key=lambda n: places[n]) == first


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("values", "kept"),
    [([-128, 127], "int8"), ([0, 300], "int16"), ([0.5, 2], "float32"), ([1e9, 0], "float32"), ([0.1, 1], None)],
)
def test_leaves_are_kept_in_the_narrowest_type(dtype: Any, values: list[float], kept: str | None) -> None:
    e = replace(_stump(2), value=np.zeros(1, dtype), true=np.array([-1]), false=np.array([-2]))
    tables = tables_of(e, np.array(values, dtype)[:, None], 1)
    assert tables.leaves.dtype == np.dtype(kept or dtype)
    np.testing.assert_array_equal(np.sort(tables.leaves[:, 0]), np.sort(np.array(values, dtype)))


@pytest.mark.parametrize(
    ("value", "kept"), [(0.5, np.float32), (0.1, np.float64), (float(np.float32(0.1)), np.float32)]
)
def test_thresholds_of_doubles_are_floats_where_that_is_exact(value: float, kept: Any) -> None:
    e = replace(_stump(2), value=np.array([value]), true=np.array([-1]), false=np.array([-2]))
    tables = tables_of(e, np.array([[0.5], [1.5]]), 1)
    assert tables.thresholds.dtype == kept
    for x, leaf in ((value, 0.5), (np.nextafter(value, 9), 1.5)):
        assert tables.leaves[walk(tables, 0, np.array([x])), 0] == leaf


def _stump(leaves: int) -> Ensemble:
    return Ensemble(
        np.zeros(1, np.int64), np.array(["BRANCH_LEQ"]), np.zeros(1, np.float32), np.zeros(1, bool), np.array([-1]),
        np.array([-1]), np.zeros(1), {}, np.zeros(1, np.int64), leaves, np.zeros(leaves, np.int64),
        (np.arange(leaves), np.zeros(leaves, np.int64), np.arange(leaves, dtype=np.float32)), 1, "SUM",
    )  # fmt: skip


ONE_NODE: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.5, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0],
    "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0],
}  # fmt: skip


def regressor(features: int = 2, **changed: Any) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], name="trees", domain="ai.onnx.ml", n_targets=1, **ONE_NODE | changed
    )
    inputs, outputs = ([value(n, onnx.TensorProto.FLOAT, [4, c])] for n, c in (("x", features), ("y", 1)))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph([node], "g", inputs, outputs), opset_imports=imports, ir_version=8)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"nodes_values": [0.5]}, "different lengths"),
        ({"target_ids": [0]}, "different lengths"),
        ({"nodes_truenodeids": [7, 0, 0]}, "names nodes that it does not have"),
        ({"target_nodeids": [1, 9]}, "names nodes that it does not have"),
        ({"nodes_nodeids": [0, 1, 1]}, "two nodes of one number"),
        ({"nodes_modes": ["BRANCH_LIKE", "LEAF", "LEAF"]}, "'BRANCH_LIKE' is unknown"),
        ({"nodes_featureids": [-1, 0, 0]}, "negative number of a feature"),
        ({"nodes_featureids": [2, 0, 0]}, "asks for feature 2, its input has 2"),
        ({"target_ids": [0, 1]}, "beyond the 1 columns"),
        ({"nodes_truenodeids": [0, 0, 0]}, "form a cycle"),
        ({"base_values": [1.0, 2.0]}, "2 base values for 1 columns"),
        ({"post_transform": "SQUARE"}, "'SQUARE' is none of the standard's"),
    ],
)
def test_broken_tables_are_refused_by_node(changed: dict[str, Any], reason: str) -> None:
    message = refusal(regressor(**changed))
    assert reason in message and "trees" in message


def test_too_many_columns_are_refused() -> None:
    attributes = ONE_NODE | {"target_ids": [0, (1 << 28) - 1]}
    ensemble = read_ensemble(lambda name, default: attributes.get(name, default), "target", 1 << 28, np.float32)
    with pytest.raises(InvalidForest, match="too much"):
        leaf_tables(ensemble)
