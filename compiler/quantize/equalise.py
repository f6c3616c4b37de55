"""Steps of their own for the channels of a tensor, where their ranges differ much.

A convolution adds its channels up, and so wants one scale for all that it reads. But each channel's factor on the scale
can be taken over by its weights: (x / f) * (w f) = x w. So a tensor is quantised with a scale for each channel, and the
products that read it have one scale and other weights. This is the equalisation of Nagel et al. ("Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019) with the factors in the quantisation in place of
the weights before it, so that any function may stand between. How far ranges are evened out is a balance: what is won
in the tensor is lost in the weights. The noise of either follows from their ranges.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from .graphs import Array, Graph, attributes_of
from .places import Places
from .ranges import STEPS, Statistics
from .weights import quantize_weights

_POWERS = (0.25, 0.5, 0.75, 1.0)  # of the ranges' ratios that are tried as factors
_GAIN = 0.5  # of the noise with one scale, below which factors are worth it
_SMALLEST = 1e-3  # factor
_SPATIAL = frozenset(("GlobalMaxPool", "MaxPool", "Pad", "Resize", "Slice"))


def channel_axis_of(graph: Graph, places: Places, name: str) -> int:
    """The axis of a stored tensor's channels: the last of what products of matrices read, 1 of others."""
    readers = [node for node in graph.users[name] if node.name in places.products]
    matrices = bool(readers) and not any(node.op_type.startswith("Conv") for node in readers)
    return len(graph.shape(name)) - 1 if matrices else 1


def _common_axis(graph: Graph, places: Places, names: list[str]) -> int | None:
    """The axis of the channels of tensors that share a scale, None if they or their moves do not agree on one."""
    ranks = {len(graph.shape(name)) for name in names}
    read = [n for n in names if any(node.name in places.products for node in graph.users[n])]
    axes = {channel_axis_of(graph, places, name) for name in read or names}
    moves = [node for node in places.moves.values() if node.output[0] in names]
    if len(axes) > 1 or len(ranks) > 1 or any(map(graph.is_constant, names)):
        return None
    axis = axes.pop()
    whole = 1 <= axis < ranks.pop() and all(_keeps_channels(graph, node, axis) for node in moves)
    return axis if whole else None


def _keeps_channels(graph: Graph, node: onnx.NodeProto, axis: int) -> bool:
    if node.op_type == "Concat":
        return True
    if node.op_type in _SPATIAL:
        return graph.shape(node.input[0])[axis] == graph.shape(node.output[0])[axis]
    return False


def channel_factors(graph: Graph, places: Places, statistics: Statistics) -> dict[str, Array]:
    """Factors [channels] on the scale, at most 1, of the tensors that are better off with them, by name."""
    found: dict[str, Array] = {}
    for names in places.groups().values():
        axis = _common_axis(graph, places, names)
        if axis is not None and all(statistics.has_channels(name, axis) for name in names):
            found.update(_factors(graph, places, names, axis, statistics))
    return found


def _factors(graph: Graph, places: Places, names: list[str], axis: int, statistics: Statistics) -> Mapping[str, Array]:
    """The best factors of tensors that share a scale, or none."""
    classes = _classes(graph, places, names, axis)
    count = 1 + max(int(one.max()) for one in classes.values())
    low, high, largest = (np.zeros(count) for _ in range(3))
    for name, one in classes.items():
        seen = statistics.channels[name]
        np.minimum.at(low, one, seen.low)
        np.maximum.at(high, one, seen.high)
    largest = np.maximum(-low, high)
    if not largest.max() > 0:
        return {}
    ratios = np.maximum(largest / largest.max(), _SMALLEST)
    readers = [(name, node) for name in names for node in graph.users[name]]

    def noise(factors: Array) -> float:
        step = (high / factors).max() - (low / factors).min()
        rounding = (step / STEPS * factors) ** 2 / 12
        total = 0.0
        for name, node in readers:
            one = classes[name]
            if node.name in places.products:
                total += _product_noise(graph, node, rounding[one], statistics.channels[name].square, factors[one])
            elif node.name not in places.moves:
                total += float(rounding[one].sum())
        return total

    plain = noise(np.ones(count))
    tried = [ratios**power for power in _POWERS]
    noises = [noise(factors) for factors in tried]
    best = int(np.argmin(noises))
    if noises[best] > _GAIN * plain:
        return {}
    return {name: tried[best][one] for name, one in classes.items()}


def _product_noise(graph: Graph, node: onnx.NodeProto, rounding: Array, squares: Array, factors: Array) -> float:
    """The noise power that rounding adds to a product's results, summed over its channels.

    Args:
        rounding: [channels], of the data; squares: the power of the data.
    """
    weights = graph.constant(node.input[1])
    assert weights is not None
    spread = spread_factors(node, weights, factors)
    scales = quantize_weights(weights * spread, _result_axis(node))[1]
    shape = [1] * weights.ndim
    shape[_result_axis(node)] = -1
    steps = np.broadcast_to(scales.reshape(shape) / spread, weights.shape)
    data = np.broadcast_to(spread_factors(node, weights, rounding), weights.shape)
    power = np.broadcast_to(spread_factors(node, weights, squares), weights.shape)
    return float(np.sum(weights.astype(np.float64) ** 2 * data) + np.sum(steps.astype(np.float64) ** 2 / 12 * power))


def _result_axis(node: onnx.NodeProto) -> int:
    """The axis of the weights along which the result's channels lie, not negative."""
    if node.op_type == "Gemm":
        return 0 if attributes_of(node).get("transB", 0) else 1
    return 0 if node.op_type == "Conv" else 1


def spread_factors(node: onnx.NodeProto, weights: Array, factors: Array) -> Array:
    """Numbers for the data's channels [channels] in a shape that broadcasts with a product's weights."""
    groups = attributes_of(node).get("group", 1)
    rest = [1] * (weights.ndim - 2)
    if node.op_type == "Conv":  # [out, in / groups, …]
        by_group = factors.reshape(groups, 1, -1)
        return np.repeat(by_group, len(weights) // groups, axis=1).reshape(len(weights), -1, *rest)
    return factors.reshape(*((-1, 1) if _result_axis(node) == 1 else (1, -1)), *rest)


def input_powers(node: onnx.NodeProto, weights: Array | None, channels: int) -> Array:
    """[channels], the sum of the squares of the weights that each channel of a product's data meets."""
    assert weights is not None
    groups = attributes_of(node).get("group", 1)
    squares = np.asarray(weights, np.float64) ** 2
    if node.op_type == "Conv":
        by_group = squares.reshape(groups, len(weights) // groups, weights.shape[1], -1)
        return np.asarray(by_group.sum((1, 3)).reshape(channels))
    return np.asarray(squares.sum(tuple(i for i in range(weights.ndim) if i != 1 - _result_axis(node))))


def _classes(graph: Graph, places: Places, names: list[str], axis: int) -> dict[str, Array]:
    """A number for each channel of each tensor [channels]; channels that moves bind together have the same one."""
    starts = np.cumsum([0, *(graph.shape(name)[axis] for name in names)])
    found = {name: np.arange(starts[i], starts[i + 1]) for i, name in enumerate(names)}
    moves = [node for node in places.moves.values() if node.output[0] in found]
    changed = True
    while changed:
        changed = False
        for node in moves:
            result = found[node.output[0]]
            along = node.op_type == "Concat" and attributes_of(node)["axis"] % len(graph.shape(node.output[0])) == axis
            offset = 0
            for name in node.input if node.op_type == "Concat" else node.input[:1]:
                part = result[offset : offset + len(found[name])] if along else result
                offset += len(part) if along else 0
                least = np.minimum(part, found[name])
                changed = changed or bool((least != part).any() or (least != found[name]).any())
                part[:] = least
                found[name][:] = least
    numbers = np.unique(np.concatenate(list(found.values())), return_inverse=True)[1]
    return {name: numbers[starts[i] : starts[i + 1]] for i, name in enumerate(names)}
