"""Steps of their own for the channels of a tensor, where their ranges differ much.

A convolution adds its channels up, and so wants one scale for all that it reads. But each channel's factor on the scale
can be taken over by its weights: (x / f) * (w f) = x w. So a tensor is quantised with a scale for each channel, and the
products that read it have one scale and other weights. This is the equalisation of Nagel et al. ("Data-Free
Quantization Through Weight Equalization and Bias Correction", 2019) with the factors in the quantisation in place of
the weights before it, so that any function may stand between. How far ranges are evened out is a balance: what is won
in the tensor is lost in the weights. The noise of either follows from their ranges.

A channel that few samples show has a range that others leave, and clipping costs more than coarse steps. So factors of
one half of the samples are judged by the noise in the other half.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from ..frontend.graph import attributes_of
from .affine import channel_axis
from .channels import channel_axis_of, channel_classes
from .graphs import Array, Graph
from .places import Places
from .ranges import Channels, Statistics, choose_range
from .settings import Settings
from .weights import LIMIT

_POWERS = (0.25, 0.5, 0.75, 1.0)  # of the ranges' ratios that are tried as factors
_GAIN = 0.8  # of the noise with one scale, below which factors are worth it
_SMALLEST = 1e-3  # factor

_Seen = Mapping[str, Channels]


@dataclass(frozen=True)
class Evened:
    """Tensors that share a scale, with factors on it for their channels.

    Attributes:
        factors: [channels], at most 1, by tensor.
        low, high: the range of values divided by the factors.
    """

    factors: dict[str, Array]
    low: float
    high: float


def even_out(graph: Graph, places: Places, statistics: Statistics, settings: Settings) -> dict[str, Evened]:
    """The groups of stored tensors that are better off with factors, by their first tensor."""
    found: dict[str, Evened] = {}
    for first, names in places.groups().items():
        readers = tuple(node.name for name in names for node in graph.users[name] if node.name in places.products)
        key = ("even out", *names, *readers, replace(settings, keep=frozenset(), whole_range=frozenset()))
        best = statistics.remembered(key, partial(_best, graph, places, names, statistics, settings))
        if best is not None:
            found[first] = best
    return found


def _best(graph: Graph, places: Places, names: list[str], statistics: Statistics, settings: Settings) -> Evened | None:
    classes = channel_classes(graph, places, names)
    if classes is None or not all(
        statistics.has_channels(name, channel_axis_of(graph, places, name)) for name in classes
    ):
        return None
    return _Group(graph, places, classes, statistics, settings).best()


class _Group:
    """Tensors that share a scale, and the noise that rounding them and the weights that meet them would add."""

    def __init__(
        self, graph: Graph, places: Places, classes: dict[str, Array], statistics: Statistics, settings: Settings
    ) -> None:
        self._seen = {name: statistics.channels[name] for name in classes}
        self._halves = [{name: statistics.halves[name][half] for name in classes} for half in (0, 1)]
        self._plain = [statistics.histograms[name] for name in classes]
        self._settings = settings
        self._classes = classes
        self._count = 1 + max(int(one.max()) for one in classes.values())
        users = [(name, node) for name in classes for node in graph.users[name] if node.name not in places.moves]
        self._users = [
            (name, node, graph.constant(node.input[1]) if node.name in places.products else None)
            for name, node in users
        ]
        self._readers: list[tuple[str, _Weights | None]] = []

    def best(self) -> Evened | None:
        """The best factors, None if they win too little on samples that they were not chosen for."""
        self._readers = [(name, None if w is None else _Weights(node, w)) for name, node, w in self._users]
        sizes, halves = self._sizes(self._seen), [self._sizes(half) for half in self._halves]
        if not all(one.any() for one in (*sizes, *halves[0], *halves[1])):
            return None
        limits, same = choose_range(self._plain, self._settings), np.ones(self._count)
        most = _factors(sizes[0], 1.0)
        if self._noise(self._seen, most, same) > _GAIN * self._noise(self._seen, same, same, limits):
            return None  # even if weights lost nothing
        # That a half lacks the greatest values of all is not the factors' fault.
        growth = [max(1.0, _size(limits) / _size(self._range(half, same))) for half in self._halves]
        tried: list[tuple[float, int, Array]] = []
        for kind, power in itertools.product((0, 1), _POWERS):
            noise = 0.0
            for fitted, other in ((0, 1), (1, 0)):
                factors = _factors(halves[fitted][kind], power)
                low, high = (growth[fitted] * end for end in self._range(self._halves[fitted], factors))
                noise += self._noise(self._halves[other], factors, factors, (low, high))
            tried.append((noise, len(tried), _factors(sizes[kind], power)))
        noise, _, factors = min(tried)
        if noise > _GAIN * sum(self._noise(half, same, same, limits) for half in self._halves):
            return None
        low, high = self._range(self._seen, factors)
        return Evened({name: factors[one] for name, one in self._classes.items()}, low, high)

    def _sizes(self, seen: _Seen) -> tuple[Array, Array]:
        """[classes], the greatest size of the values and the root of their greatest mean square."""
        largest, power = np.zeros(self._count), np.zeros(self._count)
        for name, one in self._classes.items():
            np.maximum.at(largest, one, np.maximum(-seen[name].low, seen[name].high))
            np.maximum.at(power, one, seen[name].square)
        return largest, np.sqrt(power)

    def _range(self, all_seen: _Seen, factors: Array) -> tuple[float, float]:
        """The range of what is left of the values; where noise is added up, channels count as much as they weigh."""
        scaled = []
        for name, seen in all_seen.items():
            own, weights = factors[self._classes[name]], np.zeros(len(seen.low))
            if self._settings.method == "mse":
                for reader, product in self._readers:
                    if reader == name:
                        weights += 1 if product is None else product.squares.sum(0)
            weights = weights * own**2 if weights.any() else np.ones(len(own))
            scaled.append(seen.scaled(own, weights / weights.mean()))
        return choose_range(scaled, self._settings)

    def _noise(
        self, all_seen: _Seen, factors: Array, of_weights: Array, limits: tuple[float, float] | None = None
    ) -> float:
        """The noise power in what reads the tensors, with a range of the values divided by factors; the weights may
        have others."""
        low, high = limits or self._range(all_seen, factors)
        total = 0.0
        for name, product in self._readers:
            one, seen = self._classes[name], all_seen[name]
            rounding = seen.noise(factors[one], low, high)
            total += float(rounding.sum()) if product is None else product.noise(rounding, seen.square, of_weights[one])
        return total


def _size(limits: tuple[float, float]) -> float:
    return max(-limits[0], limits[1])


def _factors(sizes: Array, power: float) -> Array:
    """Factors of at most 1 [classes] that even sizes out, wholly with a power of 1."""
    return np.asarray(np.maximum(sizes / sizes.max(), _SMALLEST) ** power)


class _Weights:
    """The weights of a product, as sums over places.

    Attributes:
        squares, largest: [results, channels], of the weights between a channel of the data and one of the result.
    """

    def __init__(self, node: onnx.NodeProto, weights: Array) -> None:
        groups = attributes_of(node).get("group", 1)
        rows = np.asarray(weights if channel_axis(node) % 2 == 0 else np.swapaxes(weights, 0, 1), np.float64)
        rows = rows.reshape(*rows.shape[:2], -1)  # [results, channels, places], of one group
        self._places = rows.shape[2]
        sums = (rows**2).sum(2), np.abs(rows).max(2)
        self.squares, self.largest = (_by_group(one, groups, node.op_type == "Conv") for one in sums)

    def noise(self, rounding: Array, squares: Array, factors: Array) -> float:
        """The noise power in the product's results, summed over their channels.

        Args:
            rounding: [channels], the noise of the data; squares: their power; factors: on their scale.
        """
        steps = (self.largest * factors).max(1) / LIMIT
        met = (self.squares > 0) * (squares / factors**2)  # what the steps of each result's weights are multiplied by
        return float(np.sum(self.squares @ rounding) + np.sum(steps**2 / 12 * met.sum(1) * self._places))


def _by_group(one: Array, groups: int, results_first: bool) -> Array:
    """[results, channels] of all groups: those of other groups than the result's are zero.

    Args:
        one: [results, channels / groups] or, of a transposed convolution, [results / groups, channels].
    """
    if groups == 1:
        return one
    parts = np.split(one, groups, axis=0 if results_first else 1)
    size, width = parts[0].shape
    whole = np.zeros((size * groups, width * groups))
    for number, part in enumerate(parts):
        whole[number * size : (number + 1) * size, number * width : (number + 1) * width] = part
    return whole


def spread_factors(node: onnx.NodeProto, weights: Array, factors: Array) -> Array:
    """Numbers for the data's channels [channels] in a shape that broadcasts with a product's weights."""
    groups = attributes_of(node).get("group", 1)
    rest = [1] * (weights.ndim - 2)
    if node.op_type == "Conv":  # [out, in / groups, …]
        by_group = factors.reshape(groups, 1, -1)
        return np.repeat(by_group, len(weights) // groups, axis=1).reshape(len(weights), -1, *rest)
    return factors.reshape(*((-1, 1) if channel_axis(node) % 2 == 1 else (1, -1)), *rest)
