"""Walking ONNX graphs: nodes, the graphs inside them, the values that they read, their execution order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Set
from graphlib import CycleError, TopologicalSorter
from typing import Any

import onnx

from ..errors import UserError

DEFAULT_DOMAINS = ("", "ai.onnx")


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in a node's attributes: branches of If, bodies of Loop and Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of every graph inside them."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from all_nodes(graph.node)


def node_inputs(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads from its own graph, those that its subgraphs capture included."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        inside = graph_values(graph)
        for inner in graph.node:
            names += [name for name in node_inputs(inner) if name not in inside]
            inside.update(inner.output)
        names += [v.name for v in graph.output if v.name not in inside]
    return names


def graph_values(graph: onnx.GraphProto) -> set[str]:
    """Names that a graph has before its first node runs."""
    names = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    return names | {t.values.name for t in graph.sparse_initializer}


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name; those that it leaves out are not there."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def describe(node: onnx.NodeProto) -> str:
    """`Conv 'name'`, for messages; a nameless node goes by its first output."""
    kind = node.op_type if node.domain in DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"
    name = node.name or next((o for o in node.output if o), "?")
    return f"{kind} {name!r}"


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Puts `nodes`, which may be the graph's own, in the place of the graph's nodes."""
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def sort_nodes(graph: onnx.GraphProto, where: str, outer: Set[str] = frozenset()) -> None:
    """Brings the nodes into an order in which they can run, which exporters forget; in subgraphs too.

    The order of the file is kept as far as possible.

    Args:
        outer: values of the surrounding graphs.

    Raises:
        UserError: a value is undefined or produced twice, or the graph has a cycle.
    """
    known = graph_values(graph)
    producer: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in producer or name in known or name in outer:
                raise UserError(
                    f"value {name!r} is produced twice",
                    f"{where}: {describe(node)}",
                    "give each value its own name",
                )
            producer[name] = index
    available = known | outer | producer.keys()
    sources: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        for inner in subgraphs(node):
            sort_nodes(inner, f"{where}: {describe(node)}", available)
        names = node_inputs(node)
        missing = [name for name in names if name not in available]
        if missing:
            raise UserError(
                f"value {missing[0]!r} is used but nothing produces it",
                f"{where}: {describe(node)}",
                "export the model again, or add the missing input",
            )
        sources[index] = [producer[name] for name in names if name in producer]
    for value in graph.output:
        if value.name not in available:
            raise UserError(f"output {value.name!r} is produced by nothing", where, "export the model again")
    if any(source >= index for index, found in sources.items() for source in found):
        replace_nodes(graph, [graph.node[i] for i in _order(graph, sources, where)])


def _order(graph: onnx.GraphProto, sources: dict[int, list[int]], where: str) -> list[int]:
    waiting = {index: set(found) for index, found in sources.items()}
    users: dict[int, list[int]] = {index: [] for index in sources}
    for index, found in waiting.items():
        for source in found:
            users[source].append(index)
    ready = [index for index, found in waiting.items() if not found]
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for user in users[order[-1]]:
            waiting[user].remove(order[-1])
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(order) < len(sources):
        try:
            TopologicalSorter(sources).prepare()
        except CycleError as error:
            cycle = " -> ".join(describe(graph.node[i]) for i in error.args[1][:6])
            raise UserError(f"the graph has a cycle: {cycle}", where, "export the model again") from error
    return order
