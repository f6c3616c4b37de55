"""Whether the rows of a model's inputs may be taken by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import load_model, prepare
from compiler.frontend.rows import BLOCKS, FEW_BLOCKS, blocks_of, check_rows, rows_shapes
from tests.models import model, node

WEIGHTS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
INDICES = np.array([3, 0, 0, 1, 2, 5])


def meet(proto: onnx.ModelProto, rows: int = 8) -> str | None:
    """Where rows meet, or None."""
    shapes = rows_shapes(proto)
    assert shapes is not None
    fixed = {name: tuple(rows if n is None else n for n in shape) for name, shape in shapes.items()}
    try:
        check_rows(prepare(load_model(proto), fixed).proto, shapes, "m")
    except UserError as error:
        return error.what
    return None


def chain(*nodes: Any, constants: dict[str, Any] | None = None, features: int = 6) -> onnx.ModelProto:
    return model(list(nodes), {"x": ["n", features]}, ["y"], constants)


APART: dict[str, onnx.ModelProto] = {
    "elements": chain(node("Add", "x w", "a"), node("Tanh", "a", "y"), constants={"w": WEIGHTS[:, 0]}),
    "product": chain(node("MatMul", "x w", "y"), constants={"w": WEIGHTS}),
    "gemm": chain(node("Gemm", "x w b", "y"), constants={"w": WEIGHTS, "b": WEIGHTS[0]}),
    "reduction": chain(node("ReduceSum", "x a", "y", keepdims=0), constants={"a": np.array([1])}),
    "argmax": chain(node("ArgMax", "x", "y", axis=-1)),
    "softmax": chain(node("Softmax", "x", "y", axis=1)),
    "top": chain(node("TopK", "x k", "v y"), constants={"k": np.array([2])}),
    "columns": chain(node("Gather", "x i", "y", axis=1), constants={"i": INDICES}),
    "look up": chain(
        node("ArgMax", "x", "a", axis=1, keepdims=0), node("Gather", "w a", "y"), constants={"w": INDICES}
    ),
    "turned twice": chain(
        node("Transpose", "x", "t", perm=[1, 0]), node("ReduceMax", "t", "r", axes=[0]),
        node("Transpose", "r", "y", perm=[1, 0]),
    ),
    "flat and back": chain(
        node("Reshape", "x f", "a"), node("Relu", "a", "b"), node("Reshape", "b s", "y"),
        constants={"f": np.array([-1]), "s": np.array([-1, 3, 2])},
    ),
    "two tables": chain(
        node("TopK", "x k", "v i"), node("Reshape", "i f", "j"), node("Gather", "w j", "g", axis=1),
        node("Reshape", "g s", "r"), node("Transpose", "r", "y", perm=[1, 0, 2]),
        constants={"k": np.array([3]), "f": np.array([-1]), "w": WEIGHTS.T[:2], "s": np.array([2, -1, 3])},
    ),
    "joined": chain(node("Relu", "x", "r"), node("Concat", "x r", "y", axis=1)),
    "parts": chain(node("Split", "x s", "a b", axis=1), node("Mul", "a b", "y"), constants={"s": np.array([3, 3])}),
    "slice": chain(node("Slice", "x b e a", "y"), constants={"b": INDICES[1:2], "e": INDICES[:1], "a": np.array([1])}),
    "as many zeros": chain(
        node("Shape", "x", "s", start=0, end=1), node("Concat", "s one", "t", axis=0),
        node("ConstantOfShape", "t", "z"), node("Concat", "z x", "y", axis=1), constants={"one": np.array([1])},
    ),
}  # fmt: skip

TOGETHER: dict[str, onnx.ModelProto] = {
    "sum over rows": chain(node("ReduceSum", "x a", "y", keepdims=1), constants={"a": np.array([0])}),
    "sum of all": chain(node("ReduceMean", "x", "m"), node("Sub", "x m", "y")),
    "softmax over rows": chain(node("Softmax", "x", "y", axis=0)),
    "best row": chain(node("ArgMax", "x", "y", axis=0)),
    "product of rows": chain(node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "x t", "y")),
    "running sum": chain(node("CumSum", "x a", "y"), constants={"a": np.array(0)}),
    "reversed": chain(
        node("Slice", "x b e a s", "y"),
        constants={k: np.array([v]) for k, v in (("b", -1), ("e", -(2**31)), ("a", 0), ("s", -1))},
    ),
    "first row": chain(node("Gather", "x i", "y", axis=0), constants={"i": np.array([0])}),
    "rows side by side": chain(node("Transpose", "x", "t", perm=[1, 0]), node("Reshape", "t s", "y"),
                               constants={"s": np.array([-1, 6])}),
    "one after the other": chain(node("Concat", "x x", "y", axis=0)),
    "row numbers": chain(
        node("Shape", "x", "s", start=0, end=1), node("Squeeze", "s", "n"), node("Range", "zero n one", "r"),
        node("Unsqueeze", "r a", "u"), node("Cast", "u", "f", to=1), node("Add", "x f", "y"),
        constants={"zero": np.array(0), "one": np.array(1), "a": np.array([1])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_rows_that_do_not_meet(name: str) -> None:
    assert meet(APART[name]) is None


@pytest.mark.parametrize("name", TOGETHER)
def test_rows_that_meet(name: str) -> None:
    what = meet(TOGETHER[name])
    assert what is not None and "rows cannot be taken by themselves" in what


@pytest.mark.parametrize("name", APART)
def test_blocks_give_what_the_whole_gives(name: str) -> None:
    """The proof is right: the reference computes the same for all rows and for each."""
    from compiler.verify.reference import run_reference

    x = np.random.default_rng(1).standard_normal((9, 6)).astype(np.float32)
    whole = run_reference(APART[name], {"x": x})[1]["y"]
    parts = [run_reference(APART[name], {"x": x[i : i + 3]})[1]["y"] for i in (0, 3, 6)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": [4, 6]},
        {"x": ["n", "m"]},
        {"x": ["n", 3, 8, 8]},
        {"x": ["n", 6], "z": ["m", 6]},
        {"x": ["n", 6], "z": [1, 6]},
        {"x": []},
    ],
)
def test_inputs_of_other_forms_need_shapes(inputs: dict[str, Any]) -> None:
    nodes = [node("Identity", name, f"y{i}") for i, name in enumerate(inputs)]
    assert rows_shapes(model(nodes, inputs, [f"y{i}" for i in range(len(inputs))])) is None


def test_blocks() -> None:
    assert list(BLOCKS) == sorted(BLOCKS) and BLOCKS[0] == 1
    shapes = {"x": (None, 6), "z": (None,)}
    small, large = (
        chain(*[node("Relu", "x", f"r{n}") for n in range(count)], node("Relu", "x", "y")) for count in (1, 600)
    )
    assert blocks_of(small, shapes)[1] == {"x": (BLOCKS[1], 6), "z": (BLOCKS[1],)}
    assert [shape["z"][0] for shape in blocks_of(large, shapes)] == list(FEW_BLOCKS)
