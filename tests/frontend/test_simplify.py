"""Folding, branches and clean-up: smaller graphs, the same results, never more work than that is worth."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontend.prepare import load_model, prepare
from tests.frontend.checks import prepared, run_prepared, same_results
from tests.models import model, node, random_inputs, value

F = np.float32


def operators(proto: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in prepare(load_model(proto)).proto.graph.node]


def branch(name: str, nodes: list[onnx.NodeProto], output: str, **constants: Any) -> onnx.GraphProto:
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), k) for k, a in constants.items()]
    return onnx.helper.make_graph(nodes, name, [], [value(output, None)], tensors)


@pytest.mark.parametrize("chosen", [True, False])
def test_a_constant_condition_takes_its_branch(chosen: bool) -> None:
    inner_then = branch("inner_then", [node("Mul", "x k", "o")], "o", k=F(3))
    inner_else = branch("inner_else", [node("Identity", "x", "o")], "o")
    nested = node("If", "c", "o2", then_branch=inner_then, else_branch=inner_else)
    then = branch("then", [node("Neg", "x", "t"), nested, node("Add", "t o2", "r")], "r")
    other = branch("else", [node("Mul", "x k", "t2"), node("Exp", "t2", "r2")], "r2", k=F(5))
    nodes = [
        node("Shape", "x", "s"),
        node("Size", "s", "n"),
        node("Equal", "n two", "c"),
        node("If", "c", "y0", then_branch=then, else_branch=other),
        node("If", "c", "y1", then_branch=then, else_branch=other),
        node("Add", "y0 y1", "y"),
    ]
    proto = model(nodes, {"x": [2, 3]}, [value("y", [2, 3])], {"two": np.array(2 if chosen else 7)})
    result = same_results(proto)
    assert [n.op_type for n in result.proto.graph.node] == (
        ["Neg", "Mul", "Add"] * 2 + ["Add"] if chosen else ["Mul", "Exp"] * 2 + ["Add"]
    )


def test_a_branch_that_only_passes_a_value_on() -> None:
    outer = branch("outer", [node("Identity", "x", "same")], "same")
    then = branch("then", [node("Neg", "x", "r")], "r")
    nodes = [node("If", "c", "a", then_branch=outer, else_branch=then), node("Exp", "a", "y")]
    proto = model(nodes, {"x": [2]}, [value("y", [2])], {"c": np.array(True)})
    assert operators(proto) == ["Exp"]
    np.testing.assert_allclose(run_prepared(prepared(proto), {"x": F([0, 1])})["y"], np.exp(F([0, 1])))


def test_shape_arithmetic_vanishes() -> None:
    nodes = [
        node("Shape", "x", "s", start=1),
        node("Gather", "s zero", "c"),
        node("Mul", "c four", "m"),
        node("Concat", "one m minus", "to", axis=0),
        node("Reshape", "x to", "y"),
    ]
    constants = {"zero": np.array([0]), "four": np.array([4]), "one": np.array([1]), "minus": np.array([-1])}
    assert operators(model(nodes, {"x": [2, 3, 8]}, ["y"], constants)) == ["Reshape"]


def test_what_nothing_needs_is_gone() -> None:
    nodes = [
        node("Identity", "x", "a"),
        node("Dropout", "a ratio no", "b"),
        node("Cast", "b", "c", to=1),
        node("Neg", "c", "y"),
        node("Exp", "c", "unused"),
        node("RandomNormal", "", "noise", shape=[2]),
    ]
    proto = model(nodes, {"x": [2]}, ["y"], {"ratio": F(0.5), "no": np.array(False), "w": F([1])})
    assert operators(proto) == ["Neg"]
    assert not prepared(proto).proto.graph.initializer


def test_an_identity_between_input_and_output_stays() -> None:
    same_results(model([node("Identity", "x", "y")], {"x": [2]}, ["y"]))
    same_results(model([node("Identity", "x", "a"), node("Identity", "a", "y")], {"x": [2]}, ["y", "a"]))


HUGE = 1 << 29


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ConstantOfShape", "huge", "y")],
        [node("Expand", "unit", "e"), node("Expand", "unit huge", "y")][1:],
        [node("Tile", "unit huge", "y")],
        [node("Range", "zero many one", "y")],
        [node("Pad", "unit pads", "y")],
        [node("Identity", "huge", "h"), node("Tile", "unit h", "y")],
        [node("Add", "half half", "h"), node("Expand", "unit h", "y")],
        [node("Add", "half half", "h"), node("ConstantOfShape", "h", "t"), node("ReduceSum", "t", "y")],
        [node("OneHot", "zeros many values", "y")],
        [node("EyeLike", "square", "y")],
        [node("Resize", "image _ scales", "y")],
        [node("MaxPool", "image", "y", kernel_shape=[1, 1], pads=[HUGE] * 4, strides=[HUGE, HUGE])],
    ],
    ids=lambda nodes: nodes[-1].op_type + str(len(nodes)),
)
def test_constants_that_blow_up_are_left_alone(nodes: list[onnx.NodeProto]) -> None:
    constants = {
        "huge": np.array([HUGE]),
        "half": np.array([HUGE // 2]),
        "unit": F([1]),
        "pads": np.array([0, HUGE]),
        "zero": np.array(0),
        "many": np.array(HUGE),
        "one": np.array(1),
        "zeros": np.zeros(2, np.int64),
        "values": F([0, 1]),
        "square": np.zeros((1 << 10, 1 << 10), np.int8),
        "image": np.ones((1, 1, 2, 2), F),
        "scales": F([1, 1, 1 << 14, 1 << 14]),
    }
    proto = model([*nodes, node("Neg", "x", "z")], {"x": [2]}, ["y", "z"], constants)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prepare(load_model(proto))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # KiB


def test_a_loop_without_end_is_not_run() -> None:
    inputs = [value("i", [], "int64"), value("c", [], "bool"), value("s", [])]
    body = onnx.helper.make_graph(
        [node("Identity", "c", "co"), node("Add", "s s", "so")],
        "body",
        inputs,
        [value("co", [], "bool"), value("so", [])],
    )
    constants = {"n": np.array(1 << 62), "true": np.array(True), "start": F(0)}
    result = prepare(load_model(model([node("Loop", "n true start", "y", body=body)], {}, [value("y", [])], constants)))
    assert [n.op_type for n in result.proto.graph.node] == ["Repeat"]


UNARY = [
    "Relu",
    "Neg",
    "Abs",
    "Sigmoid",
    "Exp",
    "Floor",
    "Identity",
    "Sign",
    "Erf",
    "Tanh",
    "Softmax",
    "Reciprocal",
]
BINARY = ["Add", "Sub", "Mul", "Max", "Min", "Less", "Equal"]
OTHER = [
    "Concat",
    "Transpose",
    "ReduceSum",
    "ReduceMax",
    "Slice",
    "Flatten",
    "Unsqueeze",
    "Where",
    "Shape",
    "Split",
]


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """A dozen operators on two float tensors of one shape, an input and a constant."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    opset = draw(st.sampled_from([8, 11, 13, 17, 18]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    constants: dict[str, Any] = {"k": rng.standard_normal(shape).astype(F), "one": np.array([1])}
    nodes: list[onnx.NodeProto] = []
    same = ["x", "k"]  # values of the shape; the others are only ends
    ends: list[str] = []
    for index in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from([*UNARY, *BINARY, *OTHER]))
        a, b = draw(st.sampled_from(same)), draw(st.sampled_from(same))
        axis, out, to = draw(st.integers(0, len(shape) - 1)), f"v{index}", same
        if kind in UNARY:
            nodes.append(node(kind, a, out, **({"axis": axis} if kind == "Softmax" else {})))
            if opset < 9 and kind in ("Sign", "Erf"):
                nodes[-1].op_type = "Neg"
        elif kind in ("Less", "Equal"):
            nodes += [node("Less", f"{a} {b}", f"{out}b"), node("Cast", f"{out}b", out, to=1)]
        elif kind in BINARY:
            nodes.append(node(kind, f"{a} {b}", out))
        elif kind == "Where" and opset > 8:
            nodes += [node("Less", f"{a} {b}", f"{out}b"), node("Where", f"{out}b {b} {a}", out)]
        elif kind == "Transpose":
            order = draw(st.permutations(range(len(shape))))
            back = [int(i) for i in np.argsort(order)]
            nodes += [node(kind, a, f"{out}t", perm=order), node(kind, f"{out}t", out, perm=back)]
        elif kind == "Shape":
            nodes += [node(kind, b, f"{out}s"), node("Reshape", f"{a} {out}s", out)]
        elif kind == "Concat":
            nodes.append(node(kind, f"{a} {b}", out, axis=axis))
            to = ends
        elif kind == "Split":
            nodes += [node("Concat", f"{a} {b}", f"{out}c", axis=axis)]
            more = {"num_outputs": 2} if opset >= 18 else {}
            nodes += [node(kind, f"{out}c", f"{out}l {out}", axis=axis, **more)]
        elif kind == "Flatten":
            nodes.append(node(kind, a, out, axis=axis))
            to = ends
        elif kind == "Unsqueeze":
            nodes.append(node(kind, f"{a} one", out) if opset >= 13 else node(kind, a, out, axes=[1]))
            to = ends
        elif kind == "ReduceMax":
            nodes.append(node(kind, a, out, keepdims=0))
            to = ends
        elif kind == "ReduceSum":
            nodes.append(node(kind, f"{a} one", out) if opset >= 13 else node(kind, a, out, axes=[0]))
            if opset >= 13 and len(shape) == 1:
                nodes[-1] = node(kind, a, out)
            to = ends
        else:
            nodes.append(node("Identity", a, out))
        to.append(out)
    outputs = [*ends, same[-1]] if same[-1] not in ("x", "k") else ends
    return model(nodes, {"x": shape}, outputs, constants, opset=opset)


@settings(max_examples=150)
@given(proto=graphs())
def test_preparing_keeps_the_results(proto: onnx.ModelProto) -> None:
    result = same_results(proto, tolerance=1e-4)
    again = prepare(load_model(result.proto))
    assert len(again.proto.graph.node) == len(result.proto.graph.node)
    assert set(run_prepared(again, random_inputs(proto))) == {t.name for t in result.outputs}
