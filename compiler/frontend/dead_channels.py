"""Takes channels out of a settled model that no result depends on, or that are the same number everywhere.

Pruned models have output channels whose weights are all zero: what comes of them is the bias, through everything that
works element by element, until a product multiplies it by its weights, and then it is a part of that one's bias. (Not
where the input is padded: there the border sees zeros in its place.) And they have input channels that every reader
multiplies by zero. See Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023 (arXiv:2301.12900), for how
channels hang together.

A channel is needed if a result is, and where one is needed, all that are tied to it by an element-wise operator, a
residual or a depthwise convolution stay too. `channel_links.py` says how the operators tie them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx

from .channel_layers import Layer, layer_of
from .channel_links import LINKS
from .channels import Channels, Graph, Link
from .graph import describe, node_inputs, replace_nodes
from .infer import infer_shapes
from .shapes import value_table
from .simplify import drop_dead

# Kept channels are so many, or one of its divisors, that vectors hold them as they held all of them.
_VECTOR = 16


@dataclass(frozen=True)
class Dropped:
    """A layer with fewer output channels than it had.

    Attributes:
        layer: the node, for people.
        channels: how many it had, and has.
    """

    layer: str
    channels: tuple[int, int]


def drop_dead_channels(model: onnx.ModelProto, where: str) -> tuple[onnx.ModelProto, tuple[Dropped, ...]]:
    """The model without dead channels, its shapes inferred anew; the model itself if there are none.

    Results are the same up to the order of sums.
    """
    graph = Graph(model, value_table(model.graph))
    links = [_link(graph, node) for node in model.graph.node]
    for value in model.graph.output:
        graph.need_all(value.name)
    _settle(graph, [link for link in links if link is not None])
    if all(value.needed.all() for value in graph.values.values()):
        return model, ()
    nodes: list[onnx.NodeProto] = []
    dropped = []
    for node, link in zip(model.graph.node, links, strict=True):
        nodes += link.rewrite(graph) if link is not None else [node]
        value = graph.values.get(node.output[0])
        if isinstance(link, Layer) and value is not None and not value.needed.all():
            dropped.append(Dropped(describe(node), (value.size, int(value.needed.sum()))))
    replace_nodes(model.graph, nodes)
    model.graph.initializer.extend(graph.made)
    drop_dead(model.graph)
    del model.graph.value_info[:]
    return infer_shapes(model, where), tuple(dropped)


def _link(graph: Graph, node: onnx.NodeProto) -> Link | None:
    """How a node ties channels; None if it needs all of what it reads, and nothing is known of what it makes."""
    link: Link | None = layer_of(graph, node)
    tracked = [name for name in node_inputs(node) if name in graph.values]
    if link is None and tracked and not node.domain and not any(node.output[1:]):
        rule = LINKS.get(node.op_type)
        link = rule(graph, node) if rule else None
    if link is None:
        for name in tracked:
            graph.need_all(name)
    return link


def _settle(graph: Graph, links: list[Link]) -> None:
    """Spreads what is needed, from the results back, until nothing changes."""
    while True:
        before = -1
        while before != (before := graph.count_needed()):
            for link in reversed(links):
                link.spread(graph)
        for link in links:
            if isinstance(link, Layer):
                _fill_up(graph.values[link.node.output[0]])
        if graph.count_needed() == before:
            return


def _fill_up(value: Channels) -> None:
    unit = math.gcd(value.size, _VECTOR)
    missing = max(unit, -(-int(value.needed.sum()) // unit) * unit) - int(value.needed.sum())
    value.needed[np.flatnonzero(~value.needed)[:missing]] = True
