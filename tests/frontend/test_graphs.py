"""Graphs that are wrong, and unusual ones that are right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from compiler.frontend.prepare import load_model, prepare
from tests.frontend.checks import prepared, refusal, run_prepared, same_results
from tests.models import mlp, model, node, value

F17 = [onnx.helper.make_opsetid("", 17)]


def relu(inputs: dict[str, Any] | None = None, outputs: Sequence[Any] = ("y",), **options: Any) -> onnx.ModelProto:
    return model([node("Relu", "x", "y")], inputs or {"x": [2, 3]}, list(outputs), **options)


def with_opset(version: int, domain: str = "") -> onnx.ModelProto:
    proto = relu()
    del proto.opset_import[:]
    proto.opset_import.add(domain=domain, version=version)
    return proto


@pytest.mark.parametrize("version", [0, -1, 29, 1000, 1 << 40])
def test_operator_sets_out_of_range(version: int) -> None:
    assert "operator set" in refusal(with_opset(version))


def test_versions_that_contradict() -> None:
    proto = relu()
    proto.opset_import.add(domain="ai.onnx", version=12)
    assert "two versions" in refusal(proto)
    assert "does not say which operator set" in refusal(with_opset(1, "com.example"))
    del proto.opset_import[:]
    refusal(proto)
    proto = relu()
    proto.ir_version = 99
    assert "IR version" in refusal(proto)


def test_both_spellings_of_the_default_domain() -> None:
    proto = with_opset(17, "ai.onnx")
    proto.graph.node[0].domain = "ai.onnx"
    prepared(proto)
    proto.opset_import.add(domain="", version=17)
    prepared(proto)


def test_unknown_operators_are_listed_together() -> None:
    nodes = [
        node("Frobnicate", "x", "a"),
        node("Relu", "a", "b"),
        node("Warp", "b", "y", domain="com.example"),
    ]
    text = refusal(model(nodes, {"x": [2]}, ["y"], domains=["com.example"]))
    assert "Frobnicate 'a'" in text and "com.example.Warp 'y'" in text and "2 nodes" in text
    text = refusal(model([*nodes, node("Relu", "b b b", "c")], {"x": [2]}, ["y"], domains=["com.example"]))
    assert "Relu 'c'" in text


def test_a_domain_that_is_not_imported() -> None:
    assert "com.example" in refusal(model([node("Warp", "x", "y", domain="com.example")], {"x": [2]}, ["y"]))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Add", "x z", "y"), node("Relu", "y", "z")], "cycle"),
        ([node("Add", "x y", "y")], "cycle"),
        ([node("Add", "x nothing", "y")], "'nothing' is used but nothing produces it"),
        ([node("Relu", "x", "y"), node("Neg", "x", "y")], "'y' is produced twice"),
        ([node("Relu", "x", "x"), node("Neg", "x", "y")], "'x' is produced twice"),
        ([node("Relu", "x", "z")], "output 'y' is produced by nothing"),
        ([node("Relu", "x x", "y")], "input size 2"),
        ([node("Relu", "x", "y", speed=3)], "speed"),
        ([node("Conv", "x x", "y")], "contradict"),
        ([node("Reshape", "x s", "y")], "Reshape 'y'"),
        ([node("Add", "x s", "y")], "contradict"),
    ],
)
def test_wrong_graphs(nodes: list[onnx.NodeProto], expected: str) -> None:
    assert expected in refusal(model(nodes, {"x": [2, 3]}, [value("y", [2, 3])], {"s": np.array([4, 5])}))


def test_nodes_out_of_order() -> None:
    nodes = [node("Add", "b a", "y"), node("Exp", "a", "b"), node("Relu", "x", "a")]
    result = same_results(model(nodes[::-1], {"x": [2, 3]}, ["y"]))
    shuffled = prepared(model(nodes, {"x": [2, 3]}, [value("y", [2, 3])]))
    assert [n.op_type for n in shuffled.proto.graph.node] == [n.op_type for n in result.proto.graph.node]


def test_wrong_dimensions() -> None:
    assert "negative" in refusal(relu({"x": [2, -3]}))
    assert "2^31 - 1" in refusal(relu({"x": [1 << 40]}))
    assert "2^31 - 1" in refusal(relu({"x": [1 << 32, 1 << 32]}))
    assert "2^31 - 1" in refusal(relu({"x": [0, 1 << 62]}))
    large = model([node("Mul", "a b", "y")], {"a": [1 << 20, 1], "b": [1, 1 << 20]}, ["y"])
    assert "2^31 - 1" in refusal(large)


def tensor(**fields: Any) -> onnx.ModelProto:
    """Adds an initializer `c` that is made field by field."""
    proto = relu()
    proto.graph.node.append(node("Identity", "c", "z"))
    proto.graph.initializer.append(onnx.TensorProto(name="c", **fields))
    return proto


@pytest.mark.parametrize(
    "fields",
    [
        {"data_type": 1, "dims": [1 << 40]},
        {"data_type": 1, "dims": [1 << 29]},
        {"data_type": 1, "dims": [1 << 33, 1 << 33, 0, -1]},
        {"data_type": 1, "dims": [-4], "raw_data": bytes(16)},
        {"data_type": 1, "dims": [4], "raw_data": bytes(15)},
        {"data_type": 1, "dims": [4], "raw_data": bytes(20)},
        {"data_type": 1, "dims": [4], "float_data": [1, 2, 3]},
        {"data_type": 1, "dims": [2], "float_data": [1, 2, 3]},
        {"data_type": 1, "dims": [2], "int64_data": [1, 2]},
        {"data_type": 7, "dims": [3], "int64_data": [1]},
        {"data_type": 11, "dims": [], "double_data": []},
        {"data_type": 2, "dims": [2], "int32_data": [1]},
        {"data_type": 22, "dims": [4], "int32_data": [1]},
        {"data_type": 1, "dims": [1], "float_data": [1], "raw_data": bytes(3)},
        {"data_type": 0, "dims": [1], "raw_data": bytes(4)},
        {"data_type": 999, "dims": [1], "raw_data": bytes(4)},
    ],
)
def test_constants_of_the_wrong_size(fields: dict[str, Any]) -> None:
    assert "'c'" in refusal(tensor(**fields))


def test_names_given_twice_or_not_at_all() -> None:
    proto = relu()
    proto.graph.input.append(proto.graph.input[0])
    assert "given twice" in refusal(proto)
    proto = mlp()
    proto.graph.initializer.append(proto.graph.initializer[0])
    assert "given twice" in refusal(proto)
    assert "no name" in refusal(relu({"x": [2], "": [2]}))


def test_an_input_that_is_also_an_initializer_is_a_constant() -> None:
    proto = model([node("Mul", "x w", "y")], {"x": [2], "w": [2]}, ["y"], {"w": np.float32([3, 4])})
    assert [t.name for t in same_results(proto).inputs] == ["x"]
    assert "no input" in refusal(proto, {"w": [2]})


def test_names_that_are_no_identifiers() -> None:
    nodes = [
        onnx.helper.make_node("Add", ["a b", "1"], ["x:0"], name="n"),
        onnx.helper.make_node("Add", ["x:0", "x.y"], ["in0"], name="n"),
        onnx.helper.make_node("Add", ["in0", "x_y"], ["ß"], name="n#1"),
    ]
    result = same_results(model(nodes, {"a b": [2], "1": [2], "x.y": [2], "x_y": [2]}, ["ß", "x:0"]))
    assert [t.name for t in result.inputs] == ["a b", "1", "x.y", "x_y"]
    assert [t.name for t in result.outputs] == ["ß", "x:0"]


def test_outputs_that_no_node_makes() -> None:
    proto = relu(outputs=["y", "x", "c"], constants={"c": np.float32([1, 2])})
    same_results(proto)
    same_results(model([node("Constant", "", "y", value_float=2.0)], {"x": [2]}, ["y"]))
    same_results(model([], {"x": [2]}, ["x"]))


def test_the_same_output_twice_is_one() -> None:
    assert [t.name for t in prepared(relu(outputs=["y", "x", "y"])).outputs] == ["y", "x"]


def test_no_outputs_and_no_nodes() -> None:
    assert "no outputs" in refusal(relu(outputs=[]))
    refusal(onnx.helper.make_model(onnx.GraphProto(name="g"), opset_imports=F17))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (onnx.helper.make_tensor_type_proto(onnx.TensorProto.COMPLEX64, [2]), "complex64"),
        (onnx.helper.make_tensor_type_proto(onnx.TensorProto.INT4, [2]), "int4"),
        (onnx.helper.make_tensor_type_proto(77, [2]), "unknown type"),
        (onnx.helper.make_sequence_type_proto(onnx.helper.make_tensor_type_proto(1, [2])), "sequence"),
        (onnx.helper.make_optional_type_proto(onnx.helper.make_tensor_type_proto(1, [2])), "optional"),
        (onnx.TypeProto(), "without a type"),
    ],
)
def test_inputs_that_are_no_tensors_of_numbers(kind: onnx.TypeProto, expected: str) -> None:
    proto = relu()
    proto.graph.input.append(onnx.helper.make_value_info("s", kind))
    assert expected in refusal(proto)


def test_results_that_are_no_tensors_of_numbers() -> None:
    assert "no tensor of numbers" in refusal(model([node("Cast", "x", "y", to=8)], {"x": [2]}, ["y"]))
    assert "is a sequence" in refusal(model([node("SplitToSequence", "x", "y")], {"x": [2]}, ["y"]))
    nodes = [node("NonZero", "x", "i"), node("Cast", "i", "f", to=1), node("Softmax", "f", "y")]
    assert "depends on the data" in refusal(model(nodes, {"x": [2]}, ["y"]))


def test_sparse_constants() -> None:
    proto = relu(outputs=["y", "z"])
    proto.graph.node.append(node("Identity", "c", "z"))
    values = onnx.helper.make_tensor("c", 1, [1], [3.0])
    indices = onnx.helper.make_tensor("i", 7, [1], [1])
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [3]))
    assert "sparse" in refusal(proto)


def function(name: str, nodes: list[onnx.NodeProto], opset: int = 17) -> onnx.FunctionProto:
    imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("own", 1)]
    return onnx.helper.make_function("own", name, ["a"], ["b"], nodes, imports)


def calling(functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    nodes = [node("f", "x", "y", domain="own")]
    return model(nodes, {"x": [2, 3]}, [value("y", [2, 3])], functions=functions, domains=["own"])


def test_functions_of_the_model() -> None:
    inner = function("g", [node("Softmax", "a", "t"), node("Exp", "t", "b")])
    outer = function("f", [node("g", "a", "t", domain="own"), node("g", "t", "b", domain="own")])
    result = same_results(calling([outer, inner]))
    assert [n.op_type for n in result.proto.graph.node] == ["Softmax", "Exp"] * 2


def test_functions_that_never_end() -> None:
    itself = function("f", [node("f", "a", "b", domain="own")])
    assert "call themselves: f -> f" in refusal(calling([itself]))
    f = function("f", [node("g", "a", "b", domain="own")])
    g = function("g", [node("f", "a", "b", domain="own")])
    assert "call themselves" in refusal(calling([f, g]))
    names = ["f", *(f"g{i}" for i in range(40))]
    doubling = [
        function(name, [node(then, "a", "t", domain="own"), node(then, "t", "b", domain="own")])
        for name, then in itertools.pairwise(names)
    ]
    assert "expand to" in refusal(calling([*doubling, function("g39", [node("Relu", "a", "b")])]))
    assert "twice" in refusal(calling([itself, itself]))


def test_an_operator_is_expanded_to_the_body_that_the_standard_gives() -> None:
    nodes = [node("MeanVarianceNormalization", "x", "a", axes=[0, 2]), node("Celu", "a", "y", alpha=0.5)]
    same_results(model(nodes, {"x": [2, 3, 4]}, ["y"]))


def test_a_left_out_input_does_not_hinder_the_expansion() -> None:
    inputs = {
        "q": [1, 2, 4, 8],
        "k": [1, 2, 4, 8],
        "v": [1, 2, 4, 8],
        "past_k": [1, 2, 3, 8],
        "past_v": [1, 2, 3, 8],
    }
    proto = model([node("Attention", "q k v _ past_k past_v", "y pk pv")], inputs, ["y", "pk", "pv"], opset=23)
    assert prepare(load_model(proto)).obstacles == ()


def test_a_scalar_goes_through() -> None:
    result = same_results(model([node("Neg", "x", "y")], {"x": []}, ["y"]))
    assert result.inputs[0].shape == result.outputs[0].shape == ()


def test_the_model_given_is_not_changed() -> None:
    proto = model([node("Relu", "a", "y"), node("Neg", "x", "a")], {"x": [2]}, [value("y", [2])])
    before = proto.SerializeToString()
    loaded = load_model(proto)
    kept = loaded.proto.SerializeToString()
    first, second = prepare(loaded), prepare(loaded)
    assert proto.SerializeToString() == before and loaded.proto.SerializeToString() == kept
    assert first.proto.SerializeToString() == second.proto.SerializeToString()
    np.testing.assert_array_equal(run_prepared(first, {"x": np.float32([1, -2])})["y"], np.float32([0, 2]))


def test_zeros_that_the_writer_left_out() -> None:
    proto = model([node("Concat", "x x", "y", axis=0)], {"x": [2, 3]}, ["y"])
    (axis,) = proto.graph.node[0].attribute
    axis.ClearField("i")
    assert not axis.HasField("i")
    same_results(proto)
