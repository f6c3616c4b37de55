"""Sequences and optionals of known contents become plain values; loops over them are written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.frontend.checks import prepared, refusal, run_prepared, same_results
from tests.models import graph, model, node, value


def lists(source: onnx.ModelProto, run: bool = True) -> list[str]:
    """Operators that are left after the model was prepared, of which it computes the same as before."""
    result = same_results(source) if run else prepared(source)
    return [one.op_type for one in result.proto.graph.node]


@pytest.mark.parametrize(
    ("attributes", "sizes", "position", "shape"),
    [
        ({"axis": -1, "keepdims": 0}, None, 4, [3]),
        ({"axis": 0}, None, -1, [1, 5]),
        ({"axis": 1}, np.int64(2), 2, [3, 1]),  # the last part is smaller
        ({"axis": -1, "keepdims": 0}, np.array([1, 4]), -1, [3, 4]),  # keepdims counts only without sizes
    ],
)
def test_parts_of_a_split(attributes: dict[str, Any], sizes: Any, position: int, shape: list[int]) -> None:
    inputs = "x" if sizes is None else "x sizes"
    nodes = [node("SplitToSequence", inputs, "parts", **attributes), node("SequenceAt", "parts at", "y")]
    constants = {"at": np.int64(position)} | ({} if sizes is None else {"sizes": sizes})
    proto = model(nodes, {"x": [3, 5]}, [value("y", shape)], constants)
    assert same_results(proto).outputs[0].shape == tuple(shape)


def test_a_list_that_is_edited() -> None:
    nodes = [
        node("SequenceConstruct", "a b", "one"),
        node("SequenceInsert", "one a zero", "two"),
        node("SequenceErase", "two", "three"),  # the last
        node("SequenceInsert", "three c", "four"),  # at the end
        node("SequenceErase", "four minus", "five"),
        node("SequenceLength", "five", "length"),
        node("ConcatFromSequence", "five", "flat", axis=-1),
        node("Identity", "five", "six"),
        node("SequenceConstruct", "a a", "pair"),
        node("ConcatFromSequence", "pair", "stacked", axis=-1, new_axis=1),
        node("SequenceAt", "six minus", "second"),
    ]
    outputs = [
        value("flat", [2, 7]),
        value("stacked", [2, 3, 2]),
        value("second", [2, 3]),
        value("length", [], "int64"),
    ]
    constants = {"zero": np.int64(0), "minus": np.int64(-2)}
    left = lists(model(nodes, {"a": [2, 3], "b": [2, 3], "c": [2, 4]}, outputs, constants))
    assert not any("Sequence" in operator for operator in left)


def test_a_place_that_only_the_data_tells() -> None:
    nodes = [
        node("SplitToSequence", "x", "rows", axis=0, keepdims=0),
        node("ArgMax", "x", "best", axis=0, keepdims=0),
        node("SequenceAt", "rows best", "y"),
    ]
    assert "Gather" in lists(model(nodes, {"x": [4]}, [value("y", [])]))


def test_elements_of_different_shapes_at_a_place_that_only_the_data_tells() -> None:
    nodes = [node("SequenceConstruct", "a b", "both"), node("SequenceAt", "both at", "y")]
    proto = model(nodes, {"a": [2], "b": [3], "at": ([], "int64")}, [value("y", [None])])
    assert "which elements" in refusal(proto)


def test_a_body_for_each_element() -> None:
    body = graph([node("Mul", "e t", "scaled"), node("Add", "scaled f", "sum")], {"e": [2], "f": [2]}, ["sum"])
    body.output[0].CopyFrom(value("sum", [2]))
    nodes = [
        node("SequenceConstruct", "x y x", "many"),
        node("SequenceMap", "many y", "results", body=body),
        node("ConcatFromSequence", "results", "out", axis=0),
    ]
    proto = model(nodes, {"x": [2], "y": [2], "t": [2]}, [value("out", [6])])
    assert "SequenceMap" not in lists(proto)


def test_optionals() -> None:
    nodes = [
        node("Optional", "x", "some"),
        node("OptionalHasElement", "some", "has"),
        node("OptionalGetElement", "some", "y"),
        node("OptionalHasElement", "", "none"),
        node("Where", "has y z", "kept"),
    ]
    left = lists(model(nodes, {"x": [2], "z": [2]}, [value("kept", [2]), value("none", [], "bool")], opset=18))
    assert not any("Optional" in operator for operator in left)


def loop(body_nodes: list[onnx.NodeProto], carried: onnx.ValueInfoProto, result: onnx.ValueInfoProto) -> Any:
    inputs = [value("i", [], "int64"), value("go", [], "bool"), carried]
    outputs = [value("goes_on", [], "bool"), result]
    return onnx.helper.make_graph([node("Identity", "go", "goes_on"), *body_nodes], "body", inputs, outputs)


def sequence(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_sequence_value_info(name, 1, None)


def test_a_loop_that_fills_a_list() -> None:
    body = loop(
        [node("Gather", "x i", "row", axis=0), node("SequenceInsert", "rows row", "more")],
        sequence("rows"),
        sequence("more"),
    )
    nodes = [
        node("SequenceEmpty", "", "start"),
        node("Loop", "three _ start", "rows_out", body=body),
        node("ConcatFromSequence", "rows_out", "y", axis=0, new_axis=1),
    ]
    left = lists(model(nodes, {"x": [5, 2]}, [value("y", [3, 2])], {"three": np.int64(3)}))
    assert "Loop" not in left


def test_a_loop_whose_value_grows() -> None:
    body = loop([node("Concat", "state x", "longer", axis=0)], value("state", [None]), value("longer", [None]))
    nodes = [node("Loop", "three yes x", "y", body=body)]
    proto = model(nodes, {"x": [2]}, [value("y", [8])], {"three": np.int64(3), "yes": np.bool_(True)})
    assert same_results(proto).outputs[0].shape == (8,)


def test_a_loop_that_is_too_long_to_be_written_out() -> None:
    body = loop([node("Concat", "state x", "longer", axis=0)], value("state", [None]), value("longer", [None]))
    nodes = [node("Loop", "many yes x", "y", body=body)]
    proto = model(nodes, {"x": [2]}, [value("y", [None])], {"many": np.int64(5000), "yes": np.bool_(True)})
    assert "changes its shape" in refusal(proto)


def test_a_loop_whose_shapes_another_loop_tells_is_not_written_out() -> None:
    first = loop([node("Relu", "state", "next")], value("state", [None]), value("next", [None]))
    second = loop([node("Neg", "state", "next")], value("state", [None]), value("next", [None]))
    nodes = [
        node("Loop", "three yes x", "y", body=first),
        node("Loop", "three yes y", "z", body=second),
    ]
    proto = model(nodes, {"x": [2]}, [value("z", [2])], {"three": np.int64(3), "yes": np.bool_(True)})
    assert lists(proto, run=False) == ["Repeat", "Repeat"]


def test_a_list_as_output_becomes_an_output_for_each_element() -> None:
    nodes = [
        node("Softmax", "x", "first"),
        node("ReduceSum", "x", "second", keepdims=0),
        node("SequenceConstruct", "first x second first", "scores"),
        node("SequenceLength", "scores", "length"),
        node("Neg", "x", "y"),
    ]
    proto = model(nodes, {"x": [2, 3]}, ["y", "scores", value("length", [], "int64")])
    assert proto.graph.output[1].type.HasField("sequence_type")
    inputs = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    onnxruntime = pytest.importorskip("onnxruntime")
    y, scores, length = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, inputs)
    result = prepared(proto)
    names = ["y", "scores_0", "scores_1", "scores_2", "scores_3", "length"]
    assert [(t.name, t.shape) for t in result.outputs] == list(
        zip(names, [(2, 3), (2, 3), (2, 3), (), (2, 3), ()], strict=True)
    )
    got = run_prepared(result, inputs)
    for name, expected in zip(names, [y, *scores, np.asarray(length)], strict=True):
        np.testing.assert_array_equal(got[name], expected)


def test_the_name_of_an_element_is_taken() -> None:
    nodes = [node("Neg", "x", "y_1"), node("SequenceConstruct", "x y_1", "y")]
    assert "y_1" in refusal(model(nodes, {"x": [2]}, ["y"]))
