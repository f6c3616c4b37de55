"""LSTM, GRU and RNN: directions, layouts, states, lengths, peepholes, activations, and sizes that fit no vector."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper
from onnx.backend.test.case.node import collect_testcases

from tests.kernels.grid import Case, floats

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DIRECTIONS = ("forward", "reverse", "bidirectional")
_SIZES = ((1, 1, 1, 1), (3, 1, 5, 3), (2, 3, 4, 17), (5, 2, 7, 33), (4, 9, 3, 20), (1, 8, 16, 64), (3, 1, 16, 130))
_FUNCTIONS = [
    "Elu",
    "LeakyRelu",
    "ThresholdedRelu",
    "Affine",
    "ScaledTanh",
    "HardSigmoid",
    "Softsign",
    "Softplus",
    "Relu",
]


def _layer(
    kind: str,
    size: tuple[int, int, int, int],
    given: str = "bias",
    outputs: tuple[str, ...] = ("y", "y_h", "y_c"),
    fixed: bool = True,
    lengths: list[int] | None = None,
    **attributes: Any,
) -> Case:
    """A layer of `size` steps, rows, inputs and hidden units.

    Args:
        given: the optional inputs, by name.
        fixed: whether the weights are constants.
    """
    steps, batch, inputs, hidden = size
    outputs = outputs if kind == "LSTM" else outputs[:2]
    name = f"{kind} {size} {given} {outputs} {fixed} {lengths} {attributes}"
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = _GATES[kind]
    by_batch = bool(attributes.get("layout", 0))
    state = (batch, directions, hidden) if by_batch else (directions, batch, hidden)
    shapes = {
        "w": (directions, gates * hidden, inputs),
        "r": (directions, gates * hidden, hidden),
        "bias": (directions, 2 * gates * hidden),
        "hidden": state,
        "cell": state,
        "peepholes": (directions, 3 * hidden),
    }
    arrays = {n: 0.4 * floats(name + n, *shape) for n, shape in shapes.items() if n in (*given.split(), "w", "r")}
    arrays = {n: array.astype("float32") for n, array in arrays.items()}
    arrays["x"] = floats(name + "x", *((batch, steps, inputs) if by_batch else (steps, batch, inputs)))
    if lengths is not None:
        arrays["lengths"] = np.asarray(lengths, "int32")
    order = [n if n in arrays else "" for n in ("x", "w", "r", "bias", "lengths", "hidden", "cell", "peepholes")]
    while not order[-1]:
        order.pop()
    node = helper.make_node(kind, order, list(outputs), name=kind, hidden_size=hidden, **attributes)
    constants = {n: arrays.pop(n) for n in ("w", "r", "bias", "peepholes") if n in arrays and fixed}
    return Case(name, [node], arrays, constants, tuple(o for o in outputs if o))


def layers() -> list[Case]:
    cases = []
    for kind in _GATES:
        for number, size in enumerate(_SIZES):
            cases.append(_layer(kind, size, direction=_DIRECTIONS[number % 3]))
        every = "bias hidden cell peepholes" if kind == "LSTM" else "bias hidden"
        for direction in _DIRECTIONS:
            cases.append(_layer(kind, (4, 3, 2, 19), every, lengths=[4, 1, 2], direction=direction))
        cases.append(_layer(kind, (3, 2, 4, 9), every, direction="bidirectional", clip=0.3))
        cases.append(_layer(kind, (3, 5, 4, 9), every, fixed=False, direction="bidirectional"))
        cases.append(_layer(kind, (3, 2, 4, 9), "", outputs=("", "y_h", "y_c")))
        cases.append(_layer(kind, (3, 2, 4, 9), "hidden", outputs=("y",)))
        cases.append(_layer(kind, (3, 2, 4, 10), every, layout=1))
    return cases + _of_one_kind()


def _of_one_kind() -> list[Case]:
    cases = [_layer("LSTM", (3, 2, 4, 9), outputs=("", "", "y_c"), input_forget=1)]
    for size in [(3, 1, 4, 1), (4, 3, 5, 37), (2, 8, 3, 64)]:
        cases.append(_layer("GRU", size, "bias hidden", linear_before_reset=1, direction="bidirectional"))
        cases.append(_layer("GRU", size, "", linear_before_reset=1))
    cases.append(_layer("GRU", (4, 3, 2, 19), "bias", lengths=[1, 4, 3], linear_before_reset=1, direction="reverse"))
    for name in _FUNCTIONS:
        numbers = {"activation_alpha": [0.7]} if name in _FUNCTIONS[:6] else {}
        numbers |= {"activation_beta": [0.3]} if name in _FUNCTIONS[3:6] else {}
        cases.append(_layer("RNN", (2, 2, 3, 7), activations=[name], **numbers))
    mixed = ["HardSigmoid", "Softsign", "Elu", "Sigmoid", "LeakyRelu", "Tanh"]
    numbers = {"activation_alpha": [0.3, 0.9, 0.05], "activation_beta": [0.4]}
    cases.append(_layer("LSTM", (3, 2, 3, 7), activations=mixed, direction="bidirectional", **numbers))
    cases.append(
        _layer(
            "GRU",
            (3, 2, 3, 7),
            activations=["HardSigmoid", "ScaledTanh"],
            activation_beta=[0.4, 0.8],
            activation_alpha=[0.3, 0.9],
        )
    )
    return cases


def standard() -> list[Case]:
    """The standard's own cases, whose weights are inputs; and no steps at all."""
    cases = []
    for test in collect_testcases(None):
        node, (inputs, results) = test.model.graph.node[0], test.data_sets[0]
        if node.op_type in _GATES:
            arrays = dict(zip([value.name for value in test.model.graph.input], inputs, strict=True))
            outputs = tuple(value.name for value in test.model.graph.output)
            cases.append(Case(test.name, [node], arrays, {}, outputs, tuple(results)))
    state, weights = floats("state", 1, 2, 5), {"w": floats("w", 1, 20, 3), "r": floats("r", 1, 20, 5)}
    node = helper.make_node("LSTM", ["x", "w", "r", "", "", "h"], ["y", "y_h", "y_c"], hidden_size=5)
    nothing, zeros = np.zeros((0, 1, 2, 5), "float32"), np.zeros_like(state)
    inputs = {"x": np.zeros((0, 2, 3), "float32"), "h": state}
    return [*cases, Case("no steps", [node], inputs, weights, ("y", "y_h", "y_c"), (nothing, state, zeros))]


FAMILIES = {"recurrent": layers, "recurrent_standard": standard}
