"""What is told of models that are not compiled yet."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.frontend.support import Obstacle
from compiler.report.summary import summarize_model
from compiler.report.ways_out import way_out
from compiler.target import load_target
from tests.models import graph, model, node, value
from tests.networks import convnet

TARGET = load_target("raspberry-pi-5")


def test_a_dynamic_model_gets_a_shape_that_works() -> None:
    found = summarize_model(convnet(batch="batch"), target=TARGET)
    assert found["dynamic"]["suggested"] == ["x=1x3x9x9"]
    assert found["obstacles"] == [] and found["quantised"] is None and not found["control_flow"]
    cost = found["estimate"]
    # 7 x 3 x 9 products for each of 81 pixels, 7 x 9 of the second convolution, and a little more.
    assert 2 * 81 * 7 * 9 * 4 < cost["flops"] < 2 * 81 * 7 * 9 * 6
    assert 1e-7 < cost["seconds_on_one_core"] < 1e-3
    assert cost["weights_bytes"] > 4 * (7 * 27 + 7 * 9 + 35) and cost["arena_bytes"] > 4 * 81 * 7


def test_larger_images_cost_more() -> None:
    costs = [summarize_model(convnet(size, size), target=TARGET)["estimate"] for size in (9, 36)]
    for key in ("flops", "bytes", "seconds_on_one_core", "arena_bytes"):
        assert costs[1][key] > 4 * costs[0][key]


def test_a_quantised_model() -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w s z", "f"),
        node("MatMul", "d f", "y"),
    ]
    constants = {"s": np.float32(0.1), "z": np.int8(0), "w": np.ones((4, 4), np.int8)}
    found = summarize_model(model(nodes, {"x": [2, 4]}, ["y"], constants), target=TARGET)
    assert found["quantised"] == {"forms": ["QDQ"], "int8_weights": 17}
    assert found["estimate"]


def test_a_result_of_unknown_size() -> None:
    found = summarize_model(model([node("NonZero", "x", "y")], {"x": [5]}, ["y"]), target=TARGET)
    assert found["data_sized"] == ["y"] and found["obstacles"] == []


def test_obstacles_in_a_branch_come_with_a_way_out() -> None:
    bodies = [graph([node("Strange", "x", name, domain="nobody")], {}, [value(name, [2])]) for name in "ab"]
    branch = node("If", "c", "y", then_branch=bodies[0], else_branch=bodies[1])
    proto = model([branch], {"x": [2], "c": ([], "bool")}, [value("y", [2])], domains=["nobody"])
    found = summarize_model(proto, target=TARGET)
    assert found["control_flow"] == 1 and found["estimate"] is None
    assert {o["operator"]: o["support"] for o in found["operators"]} == {"If": "flow", "nobody.Strange": "no"}
    assert found["obstacles"] and all(o["way_out"] for o in found["obstacles"])


@pytest.mark.parametrize(
    ("operator", "reason", "part"),
    [
        ("StringSplit", "the input holds strings", "numbers"),
        ("Reshape", "the shape of 'y' depends on the data", "--shape"),
        ("Whatever", "no converter yet", "cut the graph"),
    ],
)
def test_ways_out(operator: str, reason: str, part: str) -> None:
    assert part in way_out(Obstacle(f"{operator} 'n'", operator, reason))


def test_the_names_of_supports() -> None:
    nodes = [node("Relu", "x", "a"), node("Clip", "a", "b"), node("Celu", "b", "y")]
    found = summarize_model(model(nodes, {"x": [5]}, ["y"]))
    assert {o["operator"]: o["support"] for o in found["operators"]} == {"Relu": "TVM", "Clip": "ours", "Celu": "ours"}
    assert found["estimate"] is None
