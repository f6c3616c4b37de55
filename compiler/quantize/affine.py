"""Batch normalisations, and constants added or multiplied by channel, become part of the product before them."""

from __future__ import annotations

import math

import numpy as np
import onnx

from ..frontend.graph import attributes_of
from .graphs import Array, Graph

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm")


def fold_affine(proto: onnx.ModelProto) -> None:
    """Rewrites the graph: product → y * a + b, with a and b for each channel, becomes a product of other weights.

    The alpha and beta of a Gemm become part of its weights and bias too.
    """
    graph = Graph(proto.graph)
    gone: set[int] = set()
    for node in graph.nodes:
        if node.domain or node.op_type not in _PRODUCTS or graph.constant(node.input[1]) is None:
            continue
        if node.op_type == "Gemm":
            _fold_factors(graph, node)
        while len(users := graph.users[node.output[0]]) == 1 and node.output[0] not in graph.outputs:
            found = _affine(graph, users[0], node)
            if found is None or not _fold(graph, node, *found):
                break
            gone.add(id(users[0]))
            node.output[0] = users[0].output[0]
    graph.replace([node for node in graph.nodes if id(node) not in gone])


def channel_axis(node: onnx.NodeProto) -> int:
    """The axis of a product's weights that its result's channels lie along.

    Those of a grouped transposed convolution lie along two, of which this is the one within a group.
    """
    if node.op_type == "Gemm":
        return 0 if attributes_of(node).get("transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type, -1)


def channels_of(graph: Graph, node: onnx.NodeProto) -> int:
    """How many channels a product's result has."""
    count = graph.shape(node.input[1])[channel_axis(node)]
    return int(count * attributes_of(node).get("group", 1)) if node.op_type == "ConvTranspose" else count


def _affine(graph: Graph, user: onnx.NodeProto, product: onnx.NodeProto) -> tuple[Array, Array] | None:
    """a and b [channels] of what a node makes of the product's result, None if it does something else."""
    channels = channels_of(graph, product)
    if user.domain or graph.shape(user.output[0]) != graph.shape(product.output[0]):
        return None
    if user.op_type == "BatchNormalization" and len(user.output) == 1 and user.input[0] == product.output[0]:
        values = [graph.constant(name) for name in user.input[1:]]
        if any(value is None for value in values):
            return None
        scale, bias, mean, variance = (np.asarray(value, np.float64) for value in values)
        a = scale / np.sqrt(variance + attributes_of(user).get("epsilon", 1e-5))
        return a, bias - mean * a
    if user.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    first = user.input[0] == product.output[0]
    other = graph.constant(user.input[1 if first else 0])
    if other is None or not (first or user.op_type in ("Add", "Mul")):
        return None
    row = _by_channel(other.astype(np.float64), channels, len(graph.shape(product.output[0])), product)
    if row is None or (user.op_type == "Div" and not row.all()):
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    return {"Add": (one, row), "Sub": (one, -row), "Mul": (row, zero), "Div": (1 / np.where(row, row, 1), zero)}[
        user.op_type
    ]


def _by_channel(value: Array, channels: int, rank: int, product: onnx.NodeProto) -> Array | None:
    """A constant that broadcasts with the product's result as [channels], None if it differs along other axes."""
    if value.size == 1:
        return np.full(channels, value.reshape(()))
    axis = 1 if product.op_type != "Gemm" else rank - 1
    shape = (1,) * (rank - value.ndim) + value.shape
    return value.reshape(-1) if shape[axis] == math.prod(shape) == channels else None


def _fold(graph: Graph, node: onnx.NodeProto, a: Array, b: Array) -> bool:
    """Writes new weights and a new bias; returns whether they are usable."""
    weights = graph.constant(node.input[1])
    assert weights is not None
    bias = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if bias is None or (bias.ndim > 1 and bias.shape[-1] != bias.size):
        return False
    axis = channel_axis(node)
    shape = [-1 if i == axis % weights.ndim else 1 for i in range(weights.ndim)]
    if node.op_type == "ConvTranspose":  # [in, out / groups, …]: the groups follow each other along the first axis
        groups = attributes_of(node).get("group", 1)
        by_group = a.reshape(groups, 1, -1)
        factors = np.broadcast_to(by_group, (groups, len(weights) // groups, by_group.shape[2]))
        scaled = weights * factors.reshape(len(weights), -1, *[1] * (weights.ndim - 2))
    else:
        scaled = weights * a.reshape(shape)
    shifted = np.broadcast_to(bias.reshape(-1) * a + b, len(a))
    if not np.isfinite(scaled).all() or not np.isfinite(shifted).all():
        return False
    name = node.output[0]
    inputs = [
        graph.add_constant(f"{name}/folded_weights", scaled.astype(weights.dtype)),
        graph.add_constant(f"{name}/folded_bias", shifted.astype(weights.dtype)),
    ]
    node.input[:] = [node.input[0], *inputs]
    return True


def _fold_factors(graph: Graph, node: onnx.NodeProto) -> None:
    """alpha and beta of a Gemm; a bias that is no row of constants keeps its beta, and with it the node its alpha."""
    found = attributes_of(node)
    alpha, beta = found.get("alpha", 1.0), found.get("beta", 1.0)
    if alpha == beta == 1.0:
        return
    weights = graph.constant(node.input[1])
    bias = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if weights is None or (bias is None and len(node.input) > 2 and node.input[2] and beta != 1.0):
        return
    node.input[1] = graph.add_constant(f"{node.output[0]}/folded_weights", (weights * alpha).astype(weights.dtype))
    if bias is not None:
        node.input[2] = graph.add_constant(f"{node.output[0]}/folded_bias", (bias * beta).astype(bias.dtype))
    for old in [a for a in node.attribute if a.name in ("alpha", "beta")]:
        node.attribute.remove(old)
