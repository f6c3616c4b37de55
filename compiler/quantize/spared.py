"""Layers that stay in float without being asked for, as they cost the outputs much and next to nothing to compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx

from ..frontend.shapes import value_table
from .layers import Layer, macs_of

# Shares of the quantised layers' multiplications, weights and elements of results that may stay in float; the last
# bounds what layers without multiplications cost.
_MOST = (0.01, 0.05, 0.03)
_NOISE = 0.05  # share of all noise, below which a layer is not worth it
_GAIN = 0.5  # share of all noise that must go, else nothing changes
_CLEAN = 30.0  # dB of the noise of all layers, from which on nothing needs to change

Costs = tuple[int, int, int]  # multiplications, numbers in weights, elements of results


def spared_layers(layers: Sequence[Layer], costs: Mapping[str, Costs]) -> tuple[str, ...]:
    """Names of the layers that stay in float, the one that costs the outputs most first.

    The noise of layers adds up in the outputs. In many models a few small layers make most of it: maps of two channels
    before a Softmax, the last product where it and its bias nearly cancel out.

    Args:
        layers: of `measure_layers`, all that are quantised, the one that costs the outputs most first.
        costs: of the float model's nodes, by name.
    """
    noise = {layer.name: 10 ** (-layer.output_snr / 10) for layer in layers}
    total = sum(noise.values())
    if total <= 10 ** (-_CLEAN / 10):
        return ()
    room = [most * sum(costs[layer.name][kind] for layer in layers) for kind, most in enumerate(_MOST)]
    chosen: list[str] = []
    for layer in layers:
        cost = costs[layer.name]
        if noise[layer.name] >= _NOISE * total and all(one <= left for one, left in zip(cost, room, strict=True)):
            chosen.append(layer.name)
            room = [left - one for one, left in zip(cost, room, strict=True)]
    return tuple(chosen) if sum(noise[name] for name in chosen) >= _GAIN * total else ()


def costs_of(proto: onnx.ModelProto) -> dict[str, Costs]:
    """What each node costs, by its name, in a graph whose shapes are all known."""
    table, macs = value_table(proto.graph), macs_of(proto)
    weights = {tensor.name: math.prod(tensor.dims) for tensor in proto.graph.initializer}
    return {
        node.name: (
            macs.get(node.name, 0),
            sum(weights.get(name, 0) for name in node.input),
            sum(math.prod(table[name][1] or ()) for name in node.output if name in table),
        )
        for node in proto.graph.node
    }
