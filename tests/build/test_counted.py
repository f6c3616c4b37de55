"""Results whose size depends on the data, compiled and run beside onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

from compiler import compile_model
from compiler.errors import UserError
from compiler.runtime.loader import LoadError, Model
from compiler.verify.reference import run_reference
from tests.models import model, node
from tests.runtime.fake_artifact import edit_manifest

RNG = np.random.default_rng(0)
F = np.float32


def same(proto: onnx.ModelProto, path: Path, *feeds: dict[str, Any]) -> None:
    """Compiles a model and compares its results with a reference's, sizes included."""
    compile_model(proto, out=path, verify=False)
    with Model(path) as loaded:
        for feed in feeds:
            _, wanted = run_reference(proto, feed)
            results = loaded.run(feed)
            assert results.keys() == wanted.keys()
            for name, result in results.items():
                assert result.shape == wanted[name].shape and result.dtype == wanted[name].dtype
                np.testing.assert_array_equal(result, wanted[name])


def sparse(*shape: int, share: float = 0.4) -> np.ndarray[Any, Any]:
    values = RNG.standard_normal(shape).astype(F)
    return np.where(RNG.random(shape) < share, values, F(0))


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 1, 4), (1, 1), (1000,)])
def test_nonzero(tmp_path: Path, shape: tuple[int, ...]) -> None:
    proto = model([node("NonZero", "x", "y")], {"x": list(shape)}, ["y"])
    feeds = ({"x": sparse(*shape, share=share)} for share in (0.0, 0.3, 1.0))
    same(proto, tmp_path / "m.so", *feeds)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_compress(tmp_path: Path, axis: int | None) -> None:
    attributes = {} if axis is None else {"axis": axis}
    proto = model([node("Compress", "x c", "y", **attributes)], {"x": [4, 3], "c": ([3], "bool")}, ["y"])
    flags = [[True, False, True], [False, False, False], [True, True, True]]
    same(proto, tmp_path / "m.so", *({"x": sparse(4, 3), "c": np.array(c)} for c in flags))


@pytest.mark.parametrize(
    ("axis", "ordered", "dtype"),
    [(None, 0, "float32"), (None, 1, "int8"), (0, 1, "float32"), (1, 0, "int64"), (1, 1, "int32")],
)
def test_unique(tmp_path: Path, axis: int | None, ordered: int, dtype: str) -> None:
    attributes = {} if axis is None else {"axis": axis}
    shape = [6, 3]
    made = [node("Unique", "x", "y i v c", sorted=ordered, **attributes)]
    proto = model(made, {"x": (shape, dtype)}, ["y", "i", "v", "c"])
    few = (RNG.integers(0, kinds, shape).astype(dtype) for kinds in (1, 2, 3, 100))
    same(proto, tmp_path / "m.so", *({"x": x} for x in few))


@pytest.mark.parametrize("shape", [(9, 70), (5, 11, 13), (1, 65)])
def test_unique_rows_of_many_elements(tmp_path: Path, shape: tuple[int, ...]) -> None:
    proto = model([node("Unique", "x", "y i v c", axis=0)], {"x": list(shape)}, ["y", "i", "v", "c"])
    some = RNG.standard_normal((3, *shape[1:])).astype(F)
    some[1] = some[0]
    some[1].flat[-1] += 1  # the last element tells them apart
    same(proto, tmp_path / "m.so", *({"x": some[RNG.integers(0, 3, shape[0])]} for _ in range(3)))


def boxes(batch: int, count: int) -> np.ndarray[Any, Any]:
    corners = RNG.random((batch, count, 2)) * 4
    return np.concatenate([corners, corners + RNG.random((batch, count, 2)) * 2 - 0.5], axis=2).astype(F)


@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize("limit", [0, 2, 100])
def test_suppression(tmp_path: Path, centred: int, limit: int) -> None:
    nodes = [node("NonMaxSuppression", "b s limit overlap least", "y", center_point_box=centred)]
    constants = {"limit": np.array([limit]), "overlap": np.array([0.3], F)}
    inputs = {"b": [2, 30, 4], "s": [2, 3, 30], "least": [1]}
    proto = model(nodes, inputs, ["y"], constants)
    feeds = (
        {"b": np.abs(boxes(2, 30)), "s": RNG.random((2, 3, 30)).astype(F), "least": np.array([least], F)}
        for least in (0.0, 0.7, 2.0)
    )
    same(proto, tmp_path / "m.so", *feeds)


def test_what_a_detector_does_with_its_boxes(tmp_path: Path) -> None:
    """The boxes that stay are gathered, and their scores and labels."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,20,4] b, float[1,2,20] s) => (float[N,4] kept, float[N] score, int64[N] label, int64[1] many) {
      limit = Constant<value=int64[1]{5}>() overlap = Constant<value=float[1]{0.4}>()
      axis = Constant<value=int64[1]{1}>() flat = Constant<value=int64[1]{-1}>()
      zero = Constant<value=int64[1]{0}>() four = Constant<value=int64[2]{-1,4}>()
      d = NonMaxSuppression(b, s, limit, overlap)
      which, label2, box2 = Split<axis=1>(d)
      label = Squeeze(label2, axis)
      box = Squeeze(box2, axis)
      table = Squeeze(b, zero)
      near = Gather(table, box)
      twice = Add(near, near)
      kept = Reshape(twice, four)
      score = GatherND(s, d)
      shape = Shape(kept)
      many = Slice(shape, zero, axis)
    }"""
    proto = parser.parse_model(text)
    feeds = ({"b": np.abs(boxes(1, 20)), "s": RNG.random((1, 2, 20)).astype(F)} for _ in range(3))
    same(proto, tmp_path / "m.so", *feeds)


def test_a_loop_that_ends_early_stacks_as_much_as_it_made(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float x, bool go) => (float y, float[N] s) {
      n = Constant<value=int64{6}>()
      y, s = Loop(n, go, x)<body = b (int64 i, bool ci, float v) => (bool co, float w, float k) {
        one = Constant<value=float{1.0}>() lim = Constant<value=float{3.0}>()
        w = Add(v, one) k = Mul(w, w) co = Less(w, lim) }>
    }"""
    feeds = ({"x": np.array(x, F), "go": np.array(go)} for x in (0, 2.5, -9) for go in (True, False))
    same(parser.parse_model(text), tmp_path / "m.so", *feeds)


def test_what_needs_all_entries_is_refused(tmp_path: Path) -> None:
    nodes = [node("NonZero", "x", "i"), node("Cast", "i", "f", to=1), node("ReduceMean", "f", "y")]
    with pytest.raises(UserError, match="how many entries its input 'f' has depends on the data"):
        compile_model(model(nodes, {"x": [5]}, ["y"]), out=tmp_path / "m.so")


def test_damaged_sizes(tmp_path: Path) -> None:
    compile_model(model([node("NonZero", "x", "y")], {"x": [5]}, ["y"]), out=tmp_path / "m.so", verify=False)
    for number, sizes in enumerate([[[2, "y/size1"]], [[-1, "y/size1"]], [[1, "y"]], [[1, "?"]], 3, [[1]]]):

        def edit(manifest: dict[str, Any], sizes: Any = sizes) -> None:
            manifest["outputs"][0]["sizes"] = sizes

        with pytest.raises(LoadError, match="damaged"):
            Model(edit_manifest(tmp_path / "m.so", tmp_path / f"m{number}.so", edit))


@settings(max_examples=15)
@given(st.lists(st.booleans(), min_size=13, max_size=13))
def test_any_flags(tmp_path_factory: pytest.TempPathFactory, flags: list[bool]) -> None:
    path = tmp_path_factory.getbasetemp() / "flags.so"
    if not path.exists():
        proto = model([node("NonZero", "x", "y")], {"x": ([13], "bool")}, ["y"])
        compile_model(proto, out=path, verify=False)
    with Model(path) as loaded:
        np.testing.assert_array_equal(loaded.run({"x": np.array(flags)})["y"], np.array(np.nonzero(flags)))
