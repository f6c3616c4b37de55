"""One artifact for a range of shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.errors import UserError
from compiler.frontend.prepare import load_model
from compiler.frontend.shapes import each_shape, parse_shapes
from compiler.runtime.loader import LoadError, Model
from compiler.verify.reference import run_reference
from tests.models import model, node
from tests.networks import convnet
from tests.runtime.fake_artifact import edit_manifest

RNG = np.random.default_rng(0)


def attention() -> onnx.ModelProto:
    """Self-attention over `s` tokens of a batch of `b`, and a mask input with the same sizes."""
    weights = {name: RNG.standard_normal((12, 12)).astype(np.float32) for name in ("wq", "wk", "wv")}
    nodes = [
        *(node("MatMul", f"x w{name}", name) for name in "qkv"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "scores"),
        node("Unsqueeze", "mask axis", "wide"),
        node("Add", "scores wide", "masked"),
        node("Softmax", "masked", "p", axis=-1),
        node("MatMul", "p v", "y"),
        node("Shape", "y", "n"),
    ]
    inputs = {"x": ["b", "s", 12], "mask": ["b", "s"]}
    return model(nodes, inputs, ["y", "n"], weights | {"axis": np.array([1])})


def compare(proto: onnx.ModelProto, artifact: Path, feed: dict[str, Any]) -> None:
    _, wanted = run_reference(proto, feed)
    with Model(artifact) as loaded:
        for _ in range(2):
            results = loaded.run(feed)
            assert results.keys() == wanted.keys()
            for name, result in results.items():
                assert result.shape == wanted[name].shape
                np.testing.assert_allclose(result, wanted[name], rtol=1e-4, atol=1e-5)


def test_every_batch_of_a_range(tmp_path: Path) -> None:
    proto = convnet(batch="n")
    made = compile_model(proto, out=tmp_path / "m.so", shapes={"x": (range(1, 6), 3, 9, 9)})
    assert made.verified == "passed"
    single = compile_model(proto, out=tmp_path / "one.so", shapes={"x": (5, 3, 9, 9)}, verify=False)
    assert made.manifest["memory"]["arena_bytes"] == single.manifest["memory"]["arena_bytes"]
    with Model(tmp_path / "m.so") as loaded:
        assert loaded.inputs[0].shape == (5, 3, 9, 9) and loaded.outputs[0].shape == (5, 5)
        for batch in (5, 1, 3, 3, 2, 5, 4):
            x = RNG.standard_normal((batch, 3, 9, 9)).astype(np.float32)
            wanted = run_reference(proto, {"x": x})[1]["y"]
            np.testing.assert_allclose(loaded.run({"x": x})["y"], wanted, rtol=1e-4, atol=1e-5)
            y = np.zeros_like(wanted)
            assert loaded.run({"x": x}, {"y": y})["y"] is y
            np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
            steps = loaded.manifest["shapes"][batch - 1]["steps"]
            nanoseconds = np.zeros(len(steps), np.uint64)
            loaded.run({"x": x}, nanoseconds=nanoseconds)
            assert nanoseconds.all()
        with pytest.raises(ValueError, match="other shapes"):
            loaded.run({"x": np.zeros((6, 3, 9, 9), np.float32)})
        x = RNG.standard_normal((5, 3, 9, 9)).astype(np.float32)  # still works
        np.testing.assert_allclose(
            loaded.run({"x": x})["y"], run_reference(proto, {"x": x})[1]["y"], rtol=1e-4, atol=1e-5
        )


def test_sizes_of_one_name_go_together(tmp_path: Path) -> None:
    proto = attention()
    shapes = {"x": (range(1, 3), range(2, 9, 3), 12)}
    made = compile_model(proto, out=tmp_path / "m.so", shapes=shapes)
    assert made.verified == "passed" and len(made.manifest["shapes"]) == 6
    for batch in (1, 2):
        for tokens in (2, 5, 8):
            x = RNG.standard_normal((batch, tokens, 12)).astype(np.float32)
            compare(proto, tmp_path / "m.so", {"x": x, "mask": x[..., 0].copy()})
    with Model(tmp_path / "m.so") as loaded, pytest.raises(ValueError, match="other shapes"):
        loaded.run({"x": np.zeros((2, 5, 12), np.float32), "mask": np.zeros((1, 5), np.float32)})


def test_shapes_as_people_write_them() -> None:
    assert parse_shapes(["x=1..8x3", "y=64..512/64"]) == {"x": (range(1, 9), 3), "y": (range(64, 513, 64),)}
    found = each_shape(attention(), parse_shapes(["x=1x2..4x12", "mask=1x2..4"]), "m")
    assert found == [{"x": (1, s, 12), "mask": (1, s)} for s in (2, 3, 4)]


@pytest.mark.parametrize("text", ["x=1..", "x=..8", "x=8..1", "x=1..8/0", "x=1..8/2", "x=1...8", "x=1..8/", "x=-1..8"])
def test_malformed_ranges(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_shapes([text])
    assert caught.value.fix


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"x": (range(1, 300), 3, 9, 9)}, "299 combinations"),
        ({"x": (range(3, 3), 3, 9, 9)}, "empty"),
        ({"x": (1, range(1, 4), 9, 9)}, "dimension 1"),
    ],
)
def test_impossible_ranges(tmp_path: Path, shapes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        compile_model(convnet(batch="n"), out=tmp_path / "m.so", shapes=shapes)
    assert not list(tmp_path.iterdir())


def test_ranges_of_one_name_must_be_equal() -> None:
    with pytest.raises(UserError, match="'s' has the ranges"):
        each_shape(load_model(attention()).proto, {"x": (1, range(1, 4), 12), "mask": (1, range(1, 5))}, "m")


def test_a_damaged_list_of_shapes(tmp_path: Path) -> None:
    compile_model(convnet(batch="n"), out=tmp_path / "m.so", shapes={"x": (range(1, 3), 3, 9, 9)}, verify=False)
    for number, value in enumerate([[[1, 3, 9]], [[-1, 3, 9, 9]], 7, [[1, 3, 9, "9"]]]):

        def edit(manifest: dict[str, Any], value: Any = value) -> None:
            manifest["shapes"][0]["inputs"] = value

        path = edit_manifest(tmp_path / "m.so", tmp_path / f"m{number}.so", edit)
        with pytest.raises(LoadError, match="damaged"):
            Model(path)
