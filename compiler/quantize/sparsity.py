"""How many weights are zero, and whether the zeros lie so that they can be left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .weighted import Array, find_layers

BLOCK = 16  # output channels that lie side by side and have their weights for one input in one block
WORTH_TELLING = 0.01  # zeros among the weights of a layer, or of all


def measure(graph: onnx.GraphProto) -> dict[str, Any] | None:
    """JSON-ready shares of zeros in the weights of products and convolutions; None without any.

    Keys: weights, zeros, blocks, channels of all layers, and layers, which has them by layer, with name and shape.
    `zeros` is the share of weights that are zero; `blocks` the share that lies in blocks of 16 output channels (or
    all, of fewer) by one input without any other; `channels` the share that belongs to outputs or inputs without any.
    """
    layers, tensors = find_layers(graph)
    if not layers:
        return None
    rows = []
    for layer in layers:
        nonzero = layer.nonzero(tensors)
        rows.append({"name": layer.name, "shape": list(tensors[layer.weight].dims)} | _shares(nonzero))
    total = sum(row["weights"] for row in rows)
    means = {key: sum(row[key] * row["weights"] for row in rows) / total for key in ("zeros", "blocks", "channels")}
    return {"weights": total} | {key: round(mean, 4) for key, mean in means.items()} | {"layers": rows}


def worth_telling(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """What `measure` found, without the layers that have next to no zeros."""
    if found is None:
        return None
    return found | {"layers": [layer for layer in found["layers"] if layer["zeros"] >= WORTH_TELLING]}


def _shares(nonzero: Array) -> dict[str, Any]:
    """Of [groups, outputs, inputs, kernel]."""
    alive = nonzero.any(axis=(2, 3), keepdims=True) & nonzero.any(axis=(1, 3), keepdims=True)
    shares = {
        "zeros": 1 - np.count_nonzero(nonzero) / nonzero.size,
        "blocks": np.count_nonzero(~any_in_block(nonzero)) / nonzero.size,
        "channels": 1 - np.count_nonzero(alive) / (nonzero.size // nonzero.shape[3]),
    }
    return {"weights": nonzero.size} | {key: round(float(share), 4) for key, share in shares.items()}


def any_in_block(nonzero: Array) -> Array:
    """For each weight of [groups, outputs, inputs, kernel], whether its block has one that is not zero."""
    starts = np.arange(0, nonzero.shape[1], BLOCK)
    found = np.logical_or.reduceat(nonzero, starts, axis=1)
    return np.repeat(found, BLOCK, axis=1)[:, : nonzero.shape[1]]
