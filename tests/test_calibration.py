"""Trees laid out for sample data: counted right, the same results, and messages for data that do not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler import compile_model
from compiler.calibration import calibrate
from compiler.errors import UserError
from compiler.frontend.forest import tables_of
from compiler.frontend.forest_nodes import leaf_tables, read_ensemble
from compiler.frontend.prepare import load_model, prepare
from compiler.runtime.loader import Model
from scripts.classical.forest import MODES, Kind, ensemble, ensemble_5, rows, whole_rows
from tests.frontend.checks import check_message
from tests.models import mlp, model, node, value

ML = "ai.onnx.ml"
KIND = Kind(trees=3, depth=4, features=3, modes=MODES[:6])


def forest(tested: onnx.NodeProto, dtype: str = "float32", version: int = 3, scaled: bool = False) -> onnx.ModelProto:
    """A regressor of any number of rows; `scaled`: what it reads is computed."""
    nodes = [node("Mul", "x two", "X"), tested] if scaled else [node("Identity", "x", "X"), tested]
    constants = {"two": np.array(2, dtype)} if scaled else {}
    proto = model(nodes, {"x": (["N", KIND.features], dtype)}, [value("y", None, dtype)], constants)
    proto.opset_import.append(helper.make_opsetid(ML, version))
    return proto


def shares(proto: onnx.ModelProto, data: Any) -> list[float]:
    made = calibrate(load_model(proto), {"x": data}).proto
    given = {a.name: helper.get_attribute_value(a) for n in made.graph.node for a in n.attribute}["nodes_hitrates"]
    return (numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.array(given)).tolist()


def walked(tested: onnx.NodeProto, data: Any) -> list[float]:
    """Which share of the rows passes each node that is no leaf, by the words of the standard."""
    given = {a.name: helper.get_attribute_value(a) for a in tested.attribute}
    places = {key: i for i, key in enumerate(zip(given["nodes_treeids"], given["nodes_nodeids"], strict=True))}
    tracks = given.get("nodes_missing_value_tracks_true") or [0] * len(places)
    passed = [0.0] * len(places)
    for row in data:
        for tree in sorted(set(given["nodes_treeids"])):
            at = places[tree, min(n for t, n in places if t == tree)]
            while given["nodes_modes"][at] != b"LEAF":
                passed[at] += 1 / len(data)
                x, t = row[given["nodes_featureids"][at]], np.float32(given["nodes_values"][at])
                mode = given["nodes_modes"][at].decode().removeprefix("BRANCH_")
                true = {"LEQ": x <= t, "LT": x < t, "GTE": x >= t, "GT": x > t, "EQ": x == t, "NEQ": x != t}[mode]
                true = true or (np.isnan(x) and tracks[at])
                side = "true" if true else "false"
                at = places[given["nodes_treeids"][at], given[f"nodes_{side}nodeids"][at]]
    return passed


def test_every_node_is_counted() -> None:
    tested, data = ensemble(KIND, "TreeEnsembleRegressor"), rows(KIND, 50)
    found = shares(forest(tested), data)
    assert max(found) == 1 and len(set(found)) > 5
    np.testing.assert_allclose(found, walked(tested, data), atol=1e-6)


def test_what_a_forest_reads_is_computed() -> None:
    tested, data = ensemble(KIND, "TreeEnsembleRegressor"), rows(KIND, 50)
    np.testing.assert_allclose(shares(forest(tested, scaled=True), data), walked(tested, data * 2), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ensemble_of_version_5_and_its_sets(dtype: Any) -> None:
    kind = dataclasses.replace(KIND, modes=MODES)
    tested = ensemble_5(kind, dtype)
    found = shares(forest(tested, np.dtype(dtype).name, 5), whole_rows(kind, 200, dtype))
    given = {a.name: helper.get_attribute_value(a) for a in tested.attribute}
    for root in given["tree_roots"]:
        assert found[root] == 1
    for at, share in enumerate(found):
        sides = [(given[f"nodes_{s}nodeids"][at], given[f"nodes_{s}leafs"][at]) for s in ("true", "false")]
        inner = [found[ref] for ref, leaf in sides if not leaf]
        assert sum(inner) <= share + 1e-6
        if len(inner) == 2:
            assert sum(inner) == pytest.approx(share, abs=1e-6)


def test_only_the_order_of_nodes_changes_and_no_result(tmp_path: Path) -> None:
    kind = Kind(trees=20, depth=7, features=3)
    proto = forest(ensemble(kind, "TreeEnsembleRegressor"))
    data, tried = rows(kind, 300), rows(kind, 333)
    results = {}
    for name, given in (("plain", None), ("calibrated", {"x": data})):
        artifact = compile_model(proto, out=tmp_path / f"{name}.so", verify=given is not None, calibration=given)
        with Model(artifact.path) as loaded:
            results[name] = loaded.run({"x": tried})["y"]
    assert artifact.verified == "passed"
    np.testing.assert_array_equal(results["plain"].view(np.uint32), results["calibrated"].view(np.uint32))

    def nodes(source: Any) -> Any:
        given = {a.name: helper.get_attribute_value(a) for a in source.graph.node[1].attribute}
        read = read_ensemble(lambda name, default: given.get(name, default), "target", 9, np.float32)
        return tables_of(read, leaf_tables(read)[0], kind.features)

    before, after = nodes(proto), nodes(calibrate(load_model(proto), {"x": data}).proto)
    assert not np.array_equal(before.words, after.words)
    for table in (before, after):
        table.thresholds.sort()
    np.testing.assert_array_equal(before.thresholds, after.thresholds)


def test_a_forest_that_cannot_be_compiled_is_still_refused() -> None:
    tested = ensemble(KIND, "TreeEnsembleRegressor")
    next(a for a in tested.attribute if a.name == "nodes_featureids").ints[0] = 7
    calibrated = calibrate(load_model(forest(tested)), {"x": rows(KIND, 5)})
    assert "feature 7" in prepare(calibrated, {"x": (2, KIND.features)}).obstacles[0].reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "for none, the inputs are 'x'"),
        ({"y": np.zeros((2, 3), np.float32)}, "for 'y'"),
        ({"x": np.zeros((2, 3))}, "float64, not float32"),
        ({"x": np.array([["a"] * 3])}, "not float32"),
        ({"x": np.zeros((2, 4), np.float32)}, "[2, 4], not ['N', 3]"),
        ({"x": np.zeros(3, np.float32)}, "the shape [3]"),
        ({"x": np.zeros((0, 3), np.float32)}, "empty"),
    ],
)
def test_data_that_do_not_fit(data: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        calibrate(load_model(forest(ensemble(KIND, "TreeEnsembleRegressor"))), data)
    check_message(caught.value)
    assert words in str(caught.value)


def test_a_model_without_trees() -> None:
    with pytest.raises(UserError, match="nothing to calibrate") as caught:
        compile_model(mlp(), calibration={"x": np.zeros((2, 8), np.float32)})
    check_message(caught.value)
