"""Which operators compute with integers, and which tensors lie in memory as 8 bits between them.

A product and the element-wise operators behind it become one kernel, in which their floats stay in registers. So only
what a kernel reads from memory is worth 8 bits: the data of products, and what else kernels of convolutions hand to
each other. Operators that only move data between such tensors move the 8 bits.

First, last and depthwise layers are as any other: with scales for channels, what keeping them in float wins is little.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass

import onnx

from ..frontend.elementwise import ELEMENTWISE
from ..frontend.graph import attributes_of
from .affine import channel_axis
from .graphs import Graph
from .settings import Settings

_ELEMENTWISE = frozenset((*ELEMENTWISE, "BatchNormalization"))
_CONVOLUTIONS = frozenset(("Conv", "ConvTranspose"))
_PRODUCTS = _CONVOLUTIONS | {"Gemm", "MatMul"}
# They move elements, or choose among them by their order; the result's range is that of the data.
_MOVES = frozenset((
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GlobalMaxPool", "MaxPool", "Pad", "Reshape", "Resize",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
))  # fmt: skip
# They compute from their data, and may read 8 bits.
_REDUCTIONS = frozenset(("AveragePool", "GlobalAveragePool", "ReduceMax", "ReduceMean", "ReduceSum"))


@dataclass(frozen=True)
class Places:
    """Where a model is quantised.

    Attributes:
        products: nodes that multiply integers, by name.
        moves: nodes that move 8 bits, by name.
        stored: tensors that lie in memory as 8 bits, each with the first of those that share its scale.
        floats: names of nodes that read floats: those that the settings keep, and what moves elements for them.
    """

    products: dict[str, onnx.NodeProto]
    moves: dict[str, onnx.NodeProto]
    stored: dict[str, str]
    floats: frozenset[str]

    def groups(self) -> dict[str, list[str]]:
        """The tensors that share a scale, by the first of them."""
        found: dict[str, list[str]] = {}
        for name, first in self.stored.items():
            found.setdefault(first, []).append(name)
        return found


def find_places(graph: Graph, settings: Settings) -> Places:
    """Where `settings` quantise a graph of fixed shapes; what they keep in float can only make the places fewer."""
    products = {node.name: node for node in graph.nodes if _is_product(graph, node) and node.name not in settings.keep}
    stored = {node.input[0] for node in products.values()}
    floats = set(settings.keep)
    for node in reversed(graph.nodes):
        if _is_move(graph, node) and any(user.name in floats for name in node.output for user in graph.users[name]):
            floats.add(node.name)
    stored |= _between_convolutions(graph, products, floats)
    moves = {}
    for node in reversed(graph.nodes):
        made = [name for name in node.output if name]
        if stored.intersection(made) and _is_move(graph, node) and node.name not in floats:
            moves[node.name] = node
            stored.update(made, data_of(node))
    return Places(products, dict(reversed(moves.items())), _share_scales(graph, stored, moves), frozenset(floats))


def data_of(node: onnx.NodeProto) -> list[str]:
    """The inputs whose elements a move moves."""
    return list(node.input) if node.op_type == "Concat" else [node.input[0]]


def _is_product(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a node multiplies float32 data with constant weights that have one axis of channels."""
    if node.domain or node.op_type not in _PRODUCTS or not graph.is_constant(node.input[1]):
        return False
    data, weights = node.input[:2]
    if graph.is_constant(data) or not (graph.is_float(data) and graph.is_float(weights)):
        return False
    if 0 in graph.shape(data) or 0 in graph.shape(weights):
        return False
    found = attributes_of(node)
    if node.op_type == "Gemm":
        return not found.get("transA", 0) and found.get("alpha", 1.0) == found.get("beta", 1.0) == 1.0
    return node.op_type != "MatMul" or (len(graph.shape(weights)) == 2 and len(graph.shape(data)) >= 2)


def _is_move(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.domain or node.op_type not in _MOVES or not all(graph.is_float(name) for name in data_of(node)):
        return False
    found = attributes_of(node)
    if node.op_type == "MaxPool":
        return len(node.output) == 1
    if node.op_type == "Resize":
        return bool(found.get("mode", b"nearest") == b"nearest")
    if node.op_type == "Pad" and len(node.input) > 2 and node.input[2]:
        return graph.is_constant(node.input[2])
    return True


def _between_convolutions(graph: Graph, products: dict[str, onnx.NodeProto], keep: Set[str]) -> set[str]:
    """Tensors that one kernel of convolutions writes and others read, all of which can and may read 8 bits."""
    pictures, reaching = _pictures(graph), _reaching(graph, products)
    found = set()
    for name in _handed_over(graph):
        users = graph.users[name]
        able = all(id(user) in pictures and user.name not in keep for user in users)
        if name in pictures and able and any(id(user) in reaching for user in users):
            found.add(name)
    return found


def _pictures(graph: Graph) -> set[str | int]:
    """Names of tensors [n, c, …] with more than one place that come from convolutions, and the ids of nodes that may
    read them as 8 bits."""
    found: set[str | int] = set()
    for node in graph.nodes:
        if node.domain:
            continue
        kind, passes = node.op_type, node.op_type in _ELEMENTWISE | _MOVES | _REDUCTIONS
        if passes or (kind in _CONVOLUTIONS and graph.is_constant(node.input[1])):
            found.add(id(node))
        if kind in _CONVOLUTIONS or (passes and any(name in found for name in node.input)):
            found.update(
                name
                for name in node.output
                if len(graph.shape(name)) > 2 and math.prod(graph.shape(name)[2:]) > 1 and graph.is_float(name)
            )
    return found


def _reaching(graph: Graph, products: dict[str, onnx.NodeProto]) -> set[int]:
    """Ids of the nodes from which data come to a product."""
    found: set[int] = set()
    for node in reversed(graph.nodes):
        users = [user for name in node.output for user in graph.users[name]]
        if node.name in products or any(id(user) in found for user in users):
            found.add(id(node))
    return found


def _handed_over(graph: Graph) -> list[str]:
    """Tensors that a kernel writes for others, as the compiler fuses element-wise operators with what is before them.

    Where two products meet in one operator, the later one's result is handed over.
    """
    dominators = _dominators(graph)
    order = {id(node): place for place, node in enumerate(graph.nodes)}
    kernel: dict[str, int] = {}  # by tensor in registers, the place of the product whose kernel holds it
    found = []
    for place, node in enumerate(graph.nodes):
        owner = place
        if not node.domain and node.op_type in _ELEMENTWISE:
            held = {name: kernel[name] for name in node.input if name in kernel}
            owner = min(held.values(), default=place)
            found += [name for name, other in held.items() if other != owner]
        for name in filter(None, node.output):
            if _stays(graph, name, dominators, order):
                kernel[name] = owner
            elif graph.users[name]:
                found.append(name)
    return found


def _stays(graph: Graph, name: str, dominators: list[int], order: dict[int, int]) -> bool:
    """Whether all that read a tensor are element-wise operators of its shape, up to one where they all meet."""
    users = graph.users[name]
    if not users or name in graph.outputs:
        return False
    end = dominators[order[id(graph.producer[name])]]
    waiting, seen = list(users), set()
    while waiting:
        node = waiting.pop()
        place = order[id(node)]
        if place in seen:
            continue
        seen.add(place)
        if node.domain or node.op_type not in _ELEMENTWISE or graph.shape(node.output[0]) != graph.shape(name):
            return False
        if place != end:
            if node.output[0] in graph.outputs:
                return False
            waiting += graph.users[node.output[0]]
    return end < len(graph.nodes)


def _dominators(graph: Graph) -> list[int]:
    """By place of a node, the place of the first node that all ways from it lead through; their number for none."""
    end = len(graph.nodes)
    order = {id(node): place for place, node in enumerate(graph.nodes)}
    found = [end] * (end + 1)
    for place in range(end - 1, -1, -1):
        node = graph.nodes[place]
        ways = [order[id(user)] for name in node.output if name for user in graph.users[name]]
        if not ways or graph.outputs.intersection(node.output):
            continue
        meet = ways[0]
        for other in ways[1:]:
            while meet != other:
                meet, other = (found[meet], other) if meet < other else (meet, found[other])
        found[place] = meet
    return found


def _share_scales(graph: Graph, stored: set[str], moves: dict[str, onnx.NodeProto]) -> dict[str, str]:
    """Each stored tensor with the first of those that moves bind to one scale."""
    leader = {name: name for name in stored}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in moves.values():
        names = [*data_of(node), *filter(None, node.output)]
        for name in names[1:]:
            leader[find(name)] = find(names[0])
    made = {name: place for place, node in enumerate(graph.nodes) for name in node.output}
    first: dict[str, str] = {}
    return {
        name: first.setdefault(find(name), name) for name in sorted(stored, key=lambda name: (made.get(name, -1), name))
    }


def weight_axis(node: onnx.NodeProto) -> int | None:
    """The axis of a product's weights that their scales lie along; None where only one scale fits them all."""
    grouped = node.op_type == "ConvTranspose" and attributes_of(node).get("group", 1) > 1
    return None if grouped else channel_axis(node)
