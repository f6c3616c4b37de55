"""LSTM, GRU and RNN, with all that their nodes may say."""

from __future__ import annotations

import functools

import numpy as np
import onnx

from .builder import Array, Builder, Value

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
# Without those that jump, and those that grow without bounds.
_FUNCTIONS = ("Sigmoid", "Tanh", "Tanh", "HardSigmoid", "ScaledTanh", "Softsign", "Elu", "LeakyRelu")
_NUMBERS = {"HardSigmoid": (0.3, 0.4), "ScaledTanh": (0.9, 0.8), "Elu": (0.7,), "LeakyRelu": (0.1,)}


def recurrent(g: Builder) -> None:
    kind = g.rng.choice(tuple(_GATES))
    by_batch = g.opset >= 14 and g.chance(0.25)
    value = g.pick((g.main,), 3, 3, lambda value: value.array.size > 0)
    batch, steps = value.shape[:2] if by_batch else value.shape[1::-1]
    direction = g.rng.choice(("forward", "forward", "reverse", "bidirectional"))
    count = 2 if direction == "bidirectional" else 1
    hidden = g.rng.choice((1, 2, 3, 4, 5, 8, 9, 16, 17))
    rows = _GATES[kind] * hidden

    def tensor(*shape: int, constant: float = 0.8) -> Value:
        return g.given(g.array(shape, value.dtype, -0.7, 0.7), constant=g.chance(constant))

    def maybe(*shape: int, constant: float = 0.8) -> Value | None:
        return tensor(*shape, constant=constant) if g.chance(0.5) else None

    state = (batch, count, hidden) if by_batch else (count, batch, hidden)
    inputs = [value, tensor(count, rows, value.shape[2]), tensor(count, rows, hidden), maybe(count, 2 * rows)]
    # From 1: onnxruntime forgets the state of a row without steps, of which the standard says nothing.
    lengths = g.noise.integers(1, steps + 1, batch).astype(np.int32)
    inputs.append(g.given(lengths) if g.chance(0.4) else None)
    inputs.append(maybe(*state, constant=0.2))
    if kind == "LSTM":
        inputs += [maybe(*state, constant=0.2), maybe(count, 3 * hidden)]
    while inputs[-1] is None:
        inputs.pop()
    attributes: dict[str, object] = {"direction": direction, "hidden_size": hidden, "layout": int(by_batch) or None}
    if g.chance(0.3):
        attributes["clip"] = g.rng.choice((0.5, 1.0, 3.0))
    if kind == "GRU":
        attributes["linear_before_reset"] = g.rng.randint(0, 1)
    if kind == "LSTM" and g.chance(0.2):
        attributes["input_forget"] = 1
    if g.chance(0.3):
        attributes |= _activations(g, _ACTIVATIONS[kind] * count)
    outputs = 3 if kind == "LSTM" else 2
    left_out = g.rng.sample(range(outputs), g.rng.choice((0, 0, 1, outputs - 1)))
    while outputs - 1 in left_out:  # names at the end are not written
        left_out.remove(outputs - 1)
        outputs -= 1
    run = functools.partial(_reference, g, by_batch)
    g.add(kind, *inputs, outputs=outputs, left_out=left_out, run=run, **attributes)


def _activations(g: Builder, count: int) -> dict[str, object]:
    """Names, and the numbers that some of them take in turn."""
    names = [g.rng.choice(_FUNCTIONS) for _ in range(count)]
    numbers = [_NUMBERS.get(name, ()) for name in names]
    alphas, betas = ([found[i] for found in numbers if len(found) > i] for i in range(2))
    return {"activations": names, "activation_alpha": alphas or None, "activation_beta": betas or None}


def _reference(g: Builder, by_batch: bool, node: onnx.NodeProto, values: dict[str, Array]) -> dict[str, Array]:
    """What onnxruntime computes, which has neither the layout by batch nor float64; onnx knows one direction only."""
    if any(array.dtype == np.float64 for array in values.values()):
        values = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in values.items()}
        results = _reference(g, by_batch, node, values)
        return {name: array.astype(np.float64) for name, array in results.items()}
    if not by_batch:
        return g.reference(node, values, "onnxruntime")
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    kept = [attribute for attribute in node.attribute if attribute.name != "layout"]
    del plain.attribute[:]
    plain.attribute.extend(kept)
    moved = {node.input[i] for i in (0, 5, 6) if i < len(node.input)}
    values = {name: array.swapaxes(0, 1).copy() if name in moved else array for name, array in values.items()}
    results = g.reference(plain, values, "onnxruntime")
    whole = node.output[0]
    return {
        name: np.ascontiguousarray(array.transpose(2, 0, 1, 3) if name == whole else array.swapaxes(0, 1))
        for name, array in results.items()
    }


RULES = ((1, recurrent),)
