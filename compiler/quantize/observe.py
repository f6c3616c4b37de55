"""Runs a float model over sample data, and counts the values of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..frontend.prepare import Model
from .channels import channel_axis_of, is_met
from .data import Feeds
from .graphs import Graph
from .places import find_places
from .ranges import Array, Channels, Histogram, Statistics
from .runner import Runner
from .settings import Settings

Run = Callable[[Feeds], dict[str, Array]]


def observe(model: Model, samples: Iterable[Feeds], run: Run | None = None, cache: bool = True) -> Statistics:
    """What sample data show of the tensors that may be quantised.

    Args:
        model: from `float_model`.
        run: gives the tensors of `observed` by name; by default the model is compiled for this machine.
        cache: then, of compiled kernels.
    """
    if run is None:
        with Runner(model.proto, observed(model), cache=cache) as runner:
            return observe(model, samples, runner)
    graph, names = Graph(model.proto.graph), observed(model)
    places = find_places(graph, Settings())
    found = Statistics({name: Histogram() for name in names})
    for name in names:
        axis, shape = channel_axis_of(graph, places, name), graph.shape(name)
        if 1 <= axis < len(shape):
            found.halves[name] = Channels(shape[axis], axis), Channels(shape[axis], axis)
    for feeds in samples:
        values = {**run(feeds), **feeds}
        for name, histogram in found.histograms.items():
            histogram.add(values[name])
        for name, halves in found.halves.items():
            if found.samples:
                halves[found.samples % 2].add(values[name])
                continue
            for half, part in zip(halves, _split(values[name], halves[0].axis), strict=True):  # there may be no other
                half.add(part)
        found.samples += 1
    found.channels = {name: first.merge(second) for name, (first, second) in found.halves.items()}
    return found


def observed(model: Model) -> list[str]:
    """The tensors whose values `observe` counts. Those of what else is stored were moved there from them."""
    graph = Graph(model.proto.graph)
    places = find_places(graph, Settings())
    return [name for name in places.stored if is_met(graph, places, name) and not graph.is_constant(name)]


def _split(values: Array, axis: int) -> list[Array]:
    """Two parts of the values, each with all channels."""
    sizes = [size if place != axis else 0 for place, size in enumerate(values.shape)]
    return np.array_split(values, 2, int(np.argmax(sizes)))
