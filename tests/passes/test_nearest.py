"""The nearest points are found without the matrix of distances, and they are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compiler.kernels.limits import limits_of
from compiler.passes.nearest_program import Nearest, least_points, limits_for
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import list_targets, load_target
from tests.networks import model

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("target", [t.name for t in list_targets()])
@given(rows=st.integers(1, 3000), features=st.integers(1, 5000), points=st.integers(64, 100_000))
def test_groups_cover_all_rows_and_panels_hold_whole_blocks(target: str, rows: int, features: int, points: int) -> None:
    for dtype in ("float32", "float64"):
        limits = limits_for(dtype, limits_of(load_target(target)))
        plan = Nearest.plan((rows, features), points, 5, dtype, 2, False, limits)
        assert plan.group % plan.tile == 0 and 1 <= plan.group <= rows <= plan.groups * plan.group
        assert plan.panel % plan.width == 0 and plan.panel >= least_points(limits)


def nearest(x: Array, points: Array, k: int, metric: str, shared: bool = False) -> onnx.ModelProto:
    """Distances by CDist or, of `manhattan`, a Scan, and the k nearest; `shared` returns the distances too."""
    value, kind = helper.make_tensor_value_info, helper.np_dtype_to_tensor_dtype(x.dtype)
    if metric == "manhattan":
        axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
        body = [
            helper.make_node("Identity", ["all"], ["all_out"]),
            helper.make_node("Sub", ["all", "one"], ["difference"]),
            helper.make_node("Abs", ["difference"], ["size"]),
            helper.make_node("ReduceSum", ["size", "axes"], ["sum"], keepdims=0),
        ]
        ins = [value("all", kind, x.shape), value("one", kind, x.shape[1:])]
        outs = [value("all_out", kind, x.shape), value("sum", kind, x.shape[:1])]
        made = helper.make_graph(body, "body", ins, outs, [axes])
        nodes = [
            helper.make_node("Scan", ["x", "points"], ["unused", "turned"], num_scan_inputs=1, body=made),
            helper.make_node("Transpose", ["turned"], ["distances"], perm=[1, 0]),
        ]
    else:
        nodes = [helper.make_node("CDist", ["x", "points"], ["distances"], domain="com.microsoft", metric=metric)]
    nodes.append(helper.make_node("TopK", ["distances", "k"], ["values", "places"], largest=0))
    outputs = [value("values", kind, [len(x), k]), value("places", TensorProto.INT64, [len(x), k])]
    outputs += [value("distances", kind, [len(x), len(points)])] if shared else []
    tensors = [numpy_helper.from_array(points, "points"), numpy_helper.from_array(np.array([k]), "k")]
    proto = model(nodes, [value("x", kind, x.shape)], outputs, tensors)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


def expected(x: Array, points: Array, k: int, metric: str) -> tuple[Array, Array]:
    difference = x[:, None].astype("float64") - points[None]
    sums = np.abs(difference).sum(2) if metric == "manhattan" else (difference**2).sum(2)
    # As TopK gets them: their roots may be equal where the sums are not.
    distances = (np.sqrt(sums) if metric == "euclidean" else sums).astype(x.dtype)
    order = np.argsort(distances, 1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize("target", ["host", "x86-64-v2"])
@pytest.mark.parametrize(
    ("rows", "points", "features", "k", "metric", "dtype"),
    [
        (131, 4103, 3, 5, "euclidean", "float32"),
        (1025, 1041, 2, 32, "manhattan", "float32"),
        (67, 8200, 7, 1, "sqeuclidean", "float32"),
        (3, 180_000, 1, 9, "euclidean", "float32"),
        (131, 4103, 3, 5, "euclidean", "float64"),
    ],
)
def test_the_same_points_are_found(
    rows: int, points: int, features: int, k: int, metric: str, dtype: str, target: str, tmp_path: Path
) -> None:
    # Small whole numbers: every sum is exact, and there are many ties, of which the first one counts.
    rng = np.random.default_rng(points)
    x, p = (rng.integers(-9, 9, (n, features)).astype(dtype) for n in (rows, points))
    artifact = compile_model(nearest(x, p, k, metric), target, tmp_path / "a.so", verify=False)
    assert "nearest" in {kernel["name"] for kernel in artifact.manifest["kernels"]}
    assert not artifact.unscheduled
    found = Model(artifact.path, 2).run({"x": x})
    values, places = expected(x, p, k, metric)
    np.testing.assert_array_equal(found["places"], places)
    np.testing.assert_allclose(found["values"], values, rtol=1e-6)


def test_what_is_not_a_number_is_farthest(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, p = rng.standard_normal((70, 2)).astype("float32"), rng.standard_normal((6000, 2)).astype("float32")
    p[::2], p[1::4] = np.nan, np.inf
    artifact = compile_model(nearest(x, p, 7, "euclidean"), "host", tmp_path / "a.so", verify=False)
    found = Model(artifact.path).run({"x": x})
    values, places = expected(x, p, 7, "euclidean")
    np.testing.assert_array_equal(found["places"], places)
    np.testing.assert_allclose(found["values"], values, rtol=1e-6)


@pytest.mark.parametrize(("rows", "shared"), [(2, False), (131, True)])
def test_distances_that_stay_in_the_cache_or_have_readers_are_made(rows: int, shared: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, p = rng.standard_normal((rows, 3)).astype("float32"), rng.standard_normal((4103, 3)).astype("float32")
    artifact = compile_model(nearest(x, p, 5, "euclidean", shared), "host", tmp_path / "a.so", verify=False)
    assert "nearest" not in {kernel["name"] for kernel in artifact.manifest["kernels"]}
    found = Model(artifact.path).run({"x": x})
    np.testing.assert_array_equal(found["places"], expected(x, p, 5, "euclidean")[1])
