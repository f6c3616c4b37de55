"""Runs a float model over sample data, and counts the values of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..frontend.prepare import Model
from .data import Feeds
from .graphs import Graph
from .places import find_places
from .ranges import Array, Histogram, Statistics
from .runner import Runner
from .settings import Settings

Run = Callable[[Feeds], dict[str, Array]]


def observe(model: Model, samples: Iterable[Feeds], run: Run | None = None) -> Statistics:
    """What sample data show of the tensors that may be quantised.

    Args:
        model: from `float_model`.
        run: gives the tensors of `observed` by name; by default the model is compiled for this machine.
    """
    if run is None:
        with Runner(model.proto, observed(model)) as runner:
            return observe(model, samples, runner)
    graph = Graph(model.proto.graph)
    places = find_places(graph, Settings())
    names = observed(model)
    axes = {node.input[0]: 1 if node.op_type.startswith("Conv") else -1 for node in places.products.values()}
    found = Statistics({name: Histogram() for name in names})
    for feeds in samples:
        values = {**run(feeds), **feeds}
        for name, histogram in found.histograms.items():
            histogram.add(values[name])
        for name, axis in axes.items():
            others = tuple(i for i in range(values[name].ndim) if i != axis % values[name].ndim)
            found.means[name] = found.means.get(name, 0.0) + values[name].mean(others, np.float64)
        found.samples += 1
    for name in found.means:
        found.means[name] /= max(found.samples, 1)
    return found


def observed(model: Model) -> list[str]:
    """The tensors whose values `observe` counts."""
    graph = Graph(model.proto.graph)
    return [name for name in find_places(graph, Settings()).stored if not graph.is_constant(name)]
