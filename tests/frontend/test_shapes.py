"""`--shape`: what is missing, what does not fit, what follows from what was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from compiler.errors import UserError
from compiler.frontend.shapes import parse_shapes
from tests.frontend.checks import prepared, refusal
from tests.models import model, node


def pair(first: Any, second: Any) -> onnx.ModelProto:
    return model([node("Neg", "x", "a"), node("Neg", "y", "b")], {"x": first, "y": second}, ["a", "b"])


def test_parsing() -> None:
    assert parse_shapes(["x=1x3x224x224", "a=b=2", "y=0", "a b=7x1"]) == {
        "x": (1, 3, 224, 224),
        "a=b": (2,),
        "y": (0,),
        "a b": (7, 1),
    }
    assert parse_shapes([]) == {}


MALFORMED = [
    "",
    "x",
    "x=",
    "=1x2",
    "x=1x",
    "x=x1",
    "x=1,2",
    "x=-1",
    "x=1x-2",
    "x=1.5",
    "x=axb",
    "x=1x2\n",
    "x=٣",
]


@pytest.mark.parametrize("text", [*MALFORMED, "x=1 x 2", "x=" + "9" * 5000])
def test_malformed(text: str) -> None:
    with pytest.raises(UserError, match="malformed"):
        parse_shapes([text])


def test_an_input_given_twice() -> None:
    with pytest.raises(UserError, match="twice"):
        parse_shapes(["x=1", "x=2"])


def test_everything_missing_is_listed_with_an_example_that_works() -> None:
    proto = pair(["batch", 3, None], None)
    text = refusal(proto)
    assert "x=batchx3x?" in text and "y=? (of unknown rank)" in text
    assert "--shape x=1x3x1 --shape y=1x3x224x224" in text
    result = prepared(proto, parse_shapes(["x=1x3x1", "y=1x3x224x224"]))
    assert [t.shape for t in result.outputs] == [(1, 3, 1), (1, 3, 224, 224)]


def test_the_example_is_quoted_for_the_shell() -> None:
    proto = model([onnx.helper.make_node("Neg", ["the x; $y"], ["b"])], {"the x; $y": ["max_len"]}, ["b"])
    assert "--shape 'the x; $y=1'" in refusal(proto)


def test_minus_one_is_dynamic() -> None:
    proto = pair([-1, 3], [2])
    assert "x=?x3" in refusal(proto)
    assert prepared(proto, {"x": [5, 3]}).outputs[0].shape == (5, 3)


def test_named_dimensions_spread() -> None:
    proto = pair(["n", 3], [7, "n"])
    assert [t.shape for t in prepared(proto, {"x": [5, 3]}).inputs] == [(5, 3), (7, 5)]
    assert "'n' is given as 5 and as 6" in refusal(proto, {"x": [5, 3], "y": [7, 6]})


def test_what_does_not_fit() -> None:
    proto = pair(["n", 3], [7])
    assert "gives 1 dimensions, the input has 2" in refusal(proto, {"x": [3]})
    assert "gives 4 for dimension 1, the model fixes it to 3" in refusal(proto, {"x": [1, 4]})
    assert "inputs: x, y" in refusal(proto, {"z": [3]})
    prepared(proto, {"x": [1, 3], "y": [7]})


@pytest.mark.parametrize("shape", [[-1, 3], [1 << 40, 3], [1 << 80, 3], [1.5, 3], ["2", 3], [None, 3], [1 << 31, 0]])
def test_impossible_shapes(shape: list[Any]) -> None:
    refusal(pair(["n", None], [7]), {"x": shape})


def test_numpy_integers_are_fine() -> None:
    assert prepared(pair(["n", 3], [7]), {"x": np.array([2, 3])}).inputs[0].shape == (2, 3)


def test_an_input_too_small_for_its_window_names_the_node() -> None:
    nodes = [node("Conv", "x w", "c", name="stem"), node("Slice", "c s e a t", "y")]
    constants = {"w": np.ones((1, 1, 9, 9), np.float32)} | {
        k: np.array([v]) for k, v in {"s": -1, "e": -9, "a": 2, "t": -1}.items()
    }
    proto = model(nodes, {"x": [1, 1, "h", "w_"]}, ["y"], constants)
    assert "Conv 'stem'" in refusal(proto, {"x": [1, 1, 4, 4]})
    prepared(proto, {"x": [1, 1, 16, 16]})
