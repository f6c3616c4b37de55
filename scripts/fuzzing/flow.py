"""If, Loop and Scan with small bodies."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from .builder import Array, Builder, Value

_UNARY = ("Tanh", "Sigmoid", "Neg", "Relu", "Abs", "Identity", "Softsign")
_BINARY = ("Add", "Sub", "Mul", "Max", "Min")


def branch(g: Builder) -> None:
    value = _state(g)
    if g.chance(0.5):
        condition = g.given(np.array(g.chance(0.5)), constant=g.chance(0.2))
    else:
        (mean,) = g.add("ReduceMean", value, keepdims=0, keep=False)
        (condition,) = g.add("Greater", mean, g.given(np.array(0.01, value.dtype), constant=True), keep=False)
    bodies = []
    for name in ("then", "else"):
        nodes, last = _chain(g, value.name, value)
        result = helper.make_tensor_value_info(last, _type(value.array), value.shape)
        bodies.append(helper.make_graph(nodes, g.name(name), [], [result]))
    g.add("If", condition, then_branch=bodies[0], else_branch=bodies[1])


def loop(g: Builder) -> None:
    value = _state(g)
    trips = g.given(np.array(g.rng.randint(0, 4), np.int64), constant=g.chance(0.6))
    go_on = None if g.chance(0.5) else g.given(np.array(True), constant=True)
    number, asked, state, answer = (g.name("b") for _ in range(4))
    nodes, last = _chain(g, state, value)
    infos = [
        helper.make_tensor_value_info(number, TensorProto.INT64, []),
        helper.make_tensor_value_info(asked, TensorProto.BOOL, []),
        helper.make_tensor_value_info(state, _type(value.array), value.shape),
    ]
    nodes.append(helper.make_node("Identity", [asked], [answer]))
    results = [helper.make_tensor_value_info(answer, TensorProto.BOOL, [])]
    results.append(helper.make_tensor_value_info(last, _type(value.array), value.shape))
    # Stacked results of a loop whose number of rounds is an input have a size that depends on the data.
    stacks = trips.constant and g.chance(0.5) and value.rank < 5
    if stacks:
        also = g.name("b")
        nodes.append(helper.make_node("Tanh", [last], [also]))
        results.append(helper.make_tensor_value_info(also, _type(value.array), value.shape))
    body = helper.make_graph(nodes, g.name("body"), infos, results)
    g.add("Loop", trips, go_on, value, outputs=1 + stacks, body=body)


def scan(g: Builder) -> None:
    scanned = g.pick(("float32",), 1, 4, lambda value: value.array.size > 0 and value.shape[0] < 9)
    state = g.given(g.array(scanned.shape[1:], "float32"))
    carried, element, last, stacked = (g.name("b") for _ in range(4))
    shape = scanned.shape[1:]
    nodes, inner = _chain(g, carried, state)
    nodes.append(helper.make_node("Add", [inner, element], [last]))
    nodes.append(helper.make_node("Sigmoid", [last], [stacked]))
    pairs = ((carried, element), (last, stacked))
    infos, results = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names] for names in pairs)
    body = helper.make_graph(nodes, g.name("body"), infos, results)
    directions = {name: [g.rng.randint(0, 1)] for name in ("scan_input_directions", "scan_output_directions")}
    g.add("Scan", state, scanned, outputs=2, body=body, num_scan_inputs=1, **directions)


def _state(g: Builder) -> Value:
    return g.pick(("float32",), 0, 4, lambda value: value.array.size > 0)


def _chain(g: Builder, name: str, value: Value) -> tuple[list[onnx.NodeProto], str]:
    """A few operators that keep the shape, the first of which reads `name`."""
    nodes = []
    for _ in range(g.rng.randint(1, 3)):
        made = g.name("b")
        if g.chance(0.5):
            nodes.append(helper.make_node(g.rng.choice(_UNARY), [name], [made]))
        else:
            shape = tuple(1 if g.chance(0.3) else size for size in value.shape)
            other = g.given(g.array(shape, value.dtype), constant=g.chance(0.5))
            if not other.constant:
                g.pool.append(other)
            nodes.append(helper.make_node(g.rng.choice(_BINARY), [name, other.name], [made]))
        name = made
    return nodes, name


def _type(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


RULES = ((2, branch), (2, loop), (1, scan))
