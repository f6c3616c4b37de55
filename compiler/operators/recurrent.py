"""Recurrent layers: LSTM, GRU and RNN of ONNX, without the product of their inputs, which is an ordinary one.

Gates stand in ONNX's order: i, o, f, c of LSTM; z, r, h of GRU. `passes/recurrent.py` makes the tensor program, since
the weights are laid out for the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax

from .define import define

RECURRENT = "edgec.recurrent"
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

# What a call may take beside the products and the weights, in this order.
OPTIONS = ("lengths", "hidden", "cell", "peepholes", "bias", "scale")


@dataclass(frozen=True)
class Activation:
    """A function of a gate, by its ONNX name in small letters, with its two numbers."""

    name: str
    alpha: float
    beta: float


@dataclass(frozen=True)
class Layer:
    """What a recurrent layer computes.

    Attributes:
        kind: LSTM, GRU or RNN.
        reverse: of each direction, whether it goes from the last step to the first.
        activations: of each direction, as ONNX lists them.
        clip: bound of the arguments of activations; 0 for none.
        coupled: whether LSTM forgets what it does not take in.
        after: whether GRU resets after the product with the weights.
        sequence: whether the states of all steps are wanted.
    """

    kind: str
    reverse: tuple[bool, ...]
    activations: tuple[tuple[Activation, ...], ...]
    clip: float
    coupled: bool
    after: bool
    sequence: bool


def recurrent(layer: Layer, products: Any, weights: Any, options: Mapping[str, Any]) -> Any:
    """A Relax expression: the tuple of Y [step, direction, batch, hidden] if wanted, Y_h, and Y_c of LSTM.

    Args:
        products: of inputs and weights, with biases added, [step, batch, direction · gate · hidden].
        weights: of the state, [direction, gate · hidden, hidden]; with `scale` constants of int8, and the state is
            rounded to 8 bits in each step.
        options: `lengths` [batch] int32; `hidden` and `cell` [direction, batch, hidden]; `peepholes`
            [direction, 3 · hidden]; `bias` [direction, hidden] of what GRU resets; `scale` float32
            [direction, gate · hidden], a constant.
    """
    given = [name for name in OPTIONS if name in options]
    functions = [a for functions in layer.activations for a in functions]
    return _call(
        products,
        weights,
        *(options[name] for name in given),
        given=given,
        kind=layer.kind,
        reverse=[int(r) for r in layer.reverse],
        functions=[a.name for a in functions],
        numbers=[repr(x) for a in functions for x in (a.alpha, a.beta)],
        clip=repr(layer.clip),
        coupled=int(layer.coupled),
        after=int(layer.after),
        sequence=int(layer.sequence),
    )


def layer_of(call: Any) -> Layer:
    """The layer that a call computes."""
    attrs = call.attrs
    numbers = [float(x) for x in attrs["numbers"]]
    functions = [
        Activation(str(name), *pair) for name, pair in zip(attrs["functions"], _parts(numbers, 2), strict=True)
    ]
    reverse = tuple(bool(r) for r in attrs["reverse"])
    parts = _parts(functions, len(functions) // len(reverse))
    flags = [bool(attrs[name]) for name in ("coupled", "after", "sequence")]
    return Layer(str(attrs["kind"]), reverse, tuple(map(tuple, parts)), float(attrs["clip"]), *flags)


def options_of(call: Any) -> dict[str, Any]:
    """The arguments beside products and weights, by name."""
    return dict(zip(map(str, call.attrs["given"]), call.args[2:], strict=True))


def result_shapes(call: Any) -> list[list[int]]:
    steps, batch, _ = (int(size) for size in call.args[0].ty.shape)
    directions, _, hidden = (int(size) for size in call.args[1].ty.shape)
    layer, state = layer_of(call), [directions, batch, hidden]
    return [[steps, *state]] * layer.sequence + [state] * (2 if layer.kind == "LSTM" else 1)


def _parts(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [values[begin : begin + size] for begin in range(0, len(values), size)]


def _infer_type(call: Any) -> Any:
    dtype = str(call.args[0].ty.dtype)
    return relax.TupleType([relax.TensorType(shape, dtype) for shape in result_shapes(call)])


_call = define(RECURRENT, _infer_type)
