"""Old operator sets: what is prepared computes what onnxruntime computes of the original."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from compiler.frontend.flow import body_graphs
from scripts.onnx_cases.cases import Case
from scripts.onnx_cases.check import check_artifacts
from tests.frontend.checks import prepared, refusal, run_prepared, same_results
from tests.models import graph, model, node, value

pytest.importorskip("onnxruntime", reason="the reference for old operator sets")

F = np.float32
X234 = {"x": [2, 3, 4]}


def image(*shape: int) -> dict[str, Any]:
    return {"x": [1, 2, *shape]}


def scales(*sizes: float) -> dict[str, Any]:
    return {"s": F([1, 1, *sizes])}


# Nodes, inputs, constants, operator sets.
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], dict[str, Any], tuple[int, ...]]] = {
    "Softmax over all but the first": ([node("Softmax", "x", "y")], X234, {}, (7, 11, 12)),
    "Softmax over everything": ([node("Softmax", "x", "y", axis=0)], X234, {}, (7, 11, 12)),
    "Softmax over the last": ([node("Softmax", "x", "y", axis=2)], X234, {}, (7, 11, 12)),
    "Softmax, negative axis": ([node("Softmax", "x", "y", axis=-2)], X234, {}, (11, 12)),
    "Softmax, ones after": ([node("Softmax", "x", "y")], {"x": [2, 3, 1, 1]}, {}, (7, 12)),
    "Softmax of one axis": ([node("Softmax", "x", "y", axis=0)], {"x": [5]}, {}, (7, 12)),
    "LogSoftmax": ([node("LogSoftmax", "x", "y")], X234, {}, (7, 12)),
    "Hardmax": ([node("Hardmax", "x", "y")], X234, {}, (7, 12)),
    "Squeeze": ([node("Squeeze", "x", "y", axes=[1])], {"x": [2, 1, 3, 1]}, {}, (7, 12)),
    "Squeeze everything": ([node("Squeeze", "x", "y")], {"x": [2, 1, 3, 1]}, {}, (7, 12)),
    "Squeeze, negative": ([node("Squeeze", "x", "y", axes=[-1])], {"x": [2, 1, 3, 1]}, {}, (11,)),
    "Unsqueeze": ([node("Unsqueeze", "x", "y", axes=[3, 0])], {"x": [2, 3]}, {}, (7, 12)),
    "ReduceSum": ([node("ReduceSum", "x", "y", axes=[0, 2], keepdims=0)], X234, {}, (7, 12)),
    "ReduceSum of everything": ([node("ReduceSum", "x", "y")], X234, {}, (7, 12)),
    "ReduceMean": ([node("ReduceMean", "x", "y", axes=[1])], X234, {}, (7, 12)),
    "Split": ([node("Split", "x", "a b", axis=2, split=[1, 3]), node("Concat", "b a", "y", axis=2)],
        X234, {}, (7, 12)),
    "Split in halves": ([node("Split", "x", "y z", axis=2)], X234, {}, (7, 12)),
    "Slice": ([node("Slice", "x", "y", starts=[-3, 1], ends=[9, -1], axes=[2, 1])], X234, {}, (7, 9)),
    "Slice without axes": ([node("Slice", "x", "y", starts=[0, 1], ends=[1, 3])], X234, {}, (7, 9)),
    "Slice, as inputs": ([node("Slice", "x s e a t", "y")], X234,
                         {"s": np.array([3]), "e": np.array([-9]), "a": np.array([2]), "t": np.array([-2])},
                         (10, 12)),
    "Pad": ([node("Pad", "x", "y", pads=[0, 1, 2, 1, 0, 0], value=2.5)], X234, {}, (7, 10)),
    "Pad, reflected": ([node("Pad", "x", "y", pads=[0, 1, 2, 0, 0, 0], mode="reflect")], X234, {}, (7, 10)),
    "Pad that crops": ([node("Pad", "x", "y", pads=[0, -1, 0, 1, 0, -1])], X234, {}, (7, 10)),
    "Clip": ([node("Clip", "x", "y", min=-1.0, max=2.0)], X234, {}, (7, 10)),
    "Clip from below": ([node("Clip", "x", "y", min=0.5)], X234, {}, (7, 10)),
    "Clip from above": ([node("Clip", "x", "y", max=0.5)], X234, {}, (7, 10)),
    "Clip of nothing": ([node("Clip", "x", "y")], X234, {}, (7, 10)),
    "TopK": ([node("TopK", "x", "y i", k=2, axis=1)], X234, {}, (7, 9)),
    "TopK, as input": ([node("TopK", "x k", "y i")], X234, {"k": np.array([3])}, (10,)),
    "Dropout": ([node("Dropout", "x", "d", ratio=0.3), node("Neg", "d", "y")], X234, {}, (7, 10, 11)),
    "Dropout with its mask": ([node("Dropout", "x", "y m")], X234, {}, (10,)),
    "Dropout, ratio as input": ([node("Dropout", "x r", "y")], X234, {"r": F(0.3)}, (12,)),
    "BatchNormalization": ([node("BatchNormalization", "x a b c d", "y")], image(3, 3),
                           {k: F([v, v + 1]) for v, k in enumerate("abcd", 1)}, (7, 9, 12)),
    "Gemm with a row": ([node("Gemm", "x w c", "y", alpha=0.5, beta=2.0, transB=1)], {"x": [2, 3]},
                        {"w": F([[1, 2, 3], [4, 5, 6]]), "c": F([[7], [8]])}, (7, 9, 12)),
    "Gemm without a row": ([node("Gemm", "x w", "y", transA=1)],
        {"x": [2, 3]}, {"w": F([[1], [4]])}, (11, 12)),
    "Flatten": ([node("Flatten", "x", "y", axis=2)], X234, {}, (7, 12)),
    "Flatten everything": ([node("Flatten", "x", "y", axis=0)], X234, {}, (7, 12)),
    "Flatten, negative": ([node("Flatten", "x", "y", axis=-1)], X234, {}, (11,)),
    "PRelu": ([node("PRelu", "x s", "y")], image(3, 3), {"s": F([[[2]], [[3]]])}, (7, 9)),
    "Upsample, attribute": ([node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 3.0])],
        image(2, 3), {}, (7, 8)),
    "Upsample": ([node("Upsample", "x s", "y")], image(2, 4), scales(2, 2.5), (9,)),
    "Upsample, linear": ([node("Upsample", "x s", "y", mode="linear")], image(2, 3), scales(2, 3), (9,)),
    "Resize up": ([node("Resize", "x s", "y")], image(2, 4), scales(2, 1.5), (10,)),
    "Resize down": ([node("Resize", "x s", "y")], image(4, 8), scales(0.5, 0.625), (10,)),
    "Resize, linear": ([node("Resize", "x s", "y", mode="linear")], image(4, 6), scales(0.5, 2), (10,)),
    "Resize by computed scales": ([node("Mul", "h h", "s"), node("Resize", "x s", "y")], image(4, 8),
                                  {"h": F([1, 1, 0.5, 0.5])}, (10,)),
    "Resize, new": ([node("Resize", "x r s", "y", nearest_mode="floor")], image(4, 6),
                    scales(1.5, 2) | {"r": F([])}, (11, 12)),
    "MaxPool": ([node("MaxPool", "x", "y", kernel_shape=[2, 2],
        pads=[1, 0, 0, 1])], image(4, 4), {}, (7, 8, 10, 12)),
    "AveragePool": ([node("AveragePool", "x", "y", kernel_shape=[2, 2],
        pads=[1, 0, 0, 1])], image(4, 4), {}, (7, 10)),
    "ArgMax": ([node("ArgMax", "x", "y", axis=1, keepdims=0)], X234, {}, (7, 11, 12)),
    "Scatter": ([node("Scatter", "x i u", "y")], {"x": [3, 3]},
                {"i": np.array([[1, 0, 2]]), "u": F([[1, 2, 3]])}, (9, 10)),
    "Shape arithmetic": ([node("Shape", "x", "s"), node("Slice", "s", "n", starts=[0], ends=[1]),
                          node("Squeeze", "n", "n0", axes=[0]), node("Unsqueeze", "n0", "n1", axes=[0]),
                          node("Concat", "n1 m", "to", axis=0), node("Reshape", "x to", "y")], X234,
                         {"m": np.array([-1])}, (7, 9)),
    "Expand": ([node("Expand", "x s", "y")], {"x": [3, 1]}, {"s": np.array([2, 1, 4])}, (8, 12)),
    "OneHot": ([node("OneHot", "x d v", "y")],
        {"x": ([4], "int64")}, {"d": np.array(9), "v": F([1, 5])}, (9,)),
}  # fmt: skip


@pytest.mark.parametrize(("case", "opset"), [(case, opset) for case, entry in CASES.items() for opset in entry[3]])
def test_an_old_operator_set_keeps_its_meaning(case: str, opset: int) -> None:
    nodes, inputs, constants, _ = CASES[case]
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    result = same_results(model(kept, inputs, ["y"], constants, opset=opset))
    assert [entry.version for entry in result.proto.opset_import] == [13]


def test_the_mask_of_dropout_was_of_floats() -> None:
    nodes = [node("Dropout", "x", "d m"), node("Add", "m d", "y")]
    result = prepared(model(nodes, X234, [value("y", [2, 3, 4])], opset=7))
    x = np.random.default_rng(0).random((2, 3, 4), np.float32)
    np.testing.assert_array_equal(run_prepared(result, {"x": x})["y"], x + 1)


def test_other_domains_do_not_hinder_it() -> None:
    function = onnx.helper.make_function(
        "own", "f", ["a"], ["b"], [node("Softmax", "a", "b", axis=0)], [onnx.helper.make_opsetid("", 11)]
    )
    nodes = [node("f", "x", "t", domain="own"), node("Softmax", "t", "y")]
    same_results(model(nodes, X234, [value("y", [2, 3, 4])], opset=11, functions=[function], domains=["own"]))


def test_a_branch_is_upgraded_too() -> None:
    branches = [
        onnx.helper.make_graph([node("Softmax", "x", out, axis=axis)], out, [], [value(out, [2, 3, 4])])
        for out, axis in (("a", 0), ("b", 2))
    ]
    nodes = [
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s zero", "c"),
        node("If", "c", "y", then_branch=branches[0], else_branch=branches[1]),
    ]
    found = prepared(model(nodes, X234, [value("y", [2, 3, 4])], {"zero": F(0)}, opset=11))
    (branch,) = (n for n in found.proto.graph.node if n.op_type == "Branch")
    bodies = [[n.op_type for n in body.node] for body in body_graphs(branch)]
    assert bodies == [["Flatten", "Softmax", "Reshape"], ["Softmax"]]
    nodes[1] = node("Greater", "zero zero", "c")
    same_results(model(nodes, X234, [value("y", [2, 3, 4])], {"zero": F(0)}, opset=11))


def _scan_of_rows(lengths: str = "_") -> onnx.ModelProto:
    body = graph(
        [node("Add", "state one", "sum"), node("Mul", "sum other", "next"), node("Identity", "next", "out")],
        {"state": [2], "one": [2], "other": []}, [value("next", [2]), value("out", [2])],
    )  # fmt: skip
    scan = node("Scan", f"{lengths} s x k", "last all", body=body, num_scan_inputs=2, directions=[0, 1])
    outputs = [value("last", [3, 2]), value("all", [3, 4, 2])]
    return model([scan], {"s": [3, 2], "x": [3, 4, 2], "k": [3, 4], "n": ([3], "int64")}, outputs, opset=8)


def test_the_first_scan_had_a_batch() -> None:
    rng = np.random.default_rng(0)
    s, x, k = (rng.random(shape).astype(F) for shape in ((3, 2), (3, 4, 2), (3, 4)))
    state, steps = s, []
    for step in range(4):
        state = (state + x[:, step]) * k[:, 3 - step, None]
        steps.append(state)
    proto = _scan_of_rows()
    case = Case("scan", "Scan", proto, (s, x, k, np.zeros(3, np.int64)), (state, np.stack(steps, axis=1)), 1e-5, 1e-6,
                proto, (0, 1, 2, 3))  # fmt: skip
    assert check_artifacts([case]) == {"scan": None}


def test_a_scan_whose_rows_have_lengths_of_their_own() -> None:
    assert "sequence lengths" in refusal(_scan_of_rows("n"))


@pytest.mark.parametrize(
    ("nodes", "inputs", "opset", "expected"),
    [
        ([node("BatchNormalization", "x v v v v", "y", spatial=0)], {"x": [1, 2], "v": [2]}, 7, "spatial"),
        ([node("Resize", "x s", "y")], {"x": [1, 1, 4, 4], "s": [4]}, 10, "depend on the data"),
    ],
)
def test_what_has_no_counterpart(
    nodes: list[onnx.NodeProto], inputs: dict[str, Any], opset: int, expected: str
) -> None:
    assert expected in refusal(model(nodes, inputs, [value("y", None)], opset=opset))
