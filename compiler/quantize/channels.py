"""Which channels of stored tensors are the same values, moved from one tensor to another."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .graphs import Array, Graph
from .places import Places, data_of

# They take values from several places of a channel, or none; channels stay what they are.
_WITHIN = frozenset(("GlobalMaxPool", "MaxPool", "Pad", "Resize"))


def channel_axis_of(graph: Graph, places: Places, name: str) -> int:
    """The axis of a stored tensor's channels: the last of what products of matrices read, 1 of what convolutions read.

    Of what neither reads it is that of the model's convolutions, if it has any.
    """
    products = places.products.values()
    readers = [node for node in graph.users[name] if node.name in places.products] or products
    convolutions = any(node.op_type.startswith("Conv") for node in readers)
    return 1 if convolutions else len(graph.shape(name)) - 1


def is_met(graph: Graph, places: Places, name: str) -> bool:
    """Whether something else than a move computes or reads a stored tensor, so that its scales matter."""
    node = graph.producer.get(name)
    moved = node is not None and node.name in places.moves
    return not moved or any(user.name not in places.moves for user in graph.users[name])


def channel_classes(graph: Graph, places: Places, names: list[str]) -> dict[str, Array] | None:
    """A number for each channel of the tensors that are met [channels], of tensors that share a scale.

    Channels of one number need one scale, as moves bring their values together.

    Args:
        names: in the order in which they are computed.

    Returns:
        None if values come from elsewhere, as from constants.
    """
    made: dict[str, Array] = {}  # for each element its number; an axis along which all are equal has the size 1
    same = _Same()
    for name in names:
        axis, shape = channel_axis_of(graph, places, name), graph.shape(name)
        if graph.is_constant(name) or not 1 <= axis < len(shape):
            return None
        node = graph.producer.get(name)
        if node is None or node.name not in places.moves:
            made[name] = _along(same.add(shape[axis]), axis, len(shape))
        elif name not in made:
            sources = [made.get(source) for source in data_of(node)]
            if any(source is None for source in sources) or not _move(graph, node, made, same):
                return None
        if is_met(graph, places, name):
            made[name] = _along(same.merge(made[name], axis, shape[axis]), axis, len(shape))
    met = {name: same.first(made[name]).reshape(-1) for name in names if is_met(graph, places, name)}
    numbers = np.unique(np.concatenate(list(met.values())), return_inverse=True)[1]
    ends = np.cumsum([len(one) for one in met.values()])
    return dict(zip(met, np.split(numbers, ends[:-1]), strict=True))


class _Same:
    """Numbers, some of which mean the same; the least of them stands for all."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def add(self, count: int) -> Array:
        """New numbers [count]."""
        self._parent += range(len(self._parent), len(self._parent) + count)
        return np.arange(len(self._parent) - count, len(self._parent))

    def merge(self, numbers: Array, axis: int, count: int) -> Array:
        """Lets all numbers at one place of an axis of size `count` mean the same, and returns them [count]."""
        rows = np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)
        for row in rows if rows.shape[1] > 1 else ():
            for other in np.unique(row)[1:]:
                a, b = self._find(int(row[0])), self._find(int(other))
                self._parent[max(a, b)] = min(a, b)
        return np.broadcast_to(rows[:, 0], count)

    def first(self, numbers: Array) -> Array:
        """The number that stands for each."""
        return np.asarray([self._find(number) for number in range(len(self._parent))])[numbers]

    def _find(self, number: int) -> int:
        while self._parent[number] != number:
            number = self._parent[number]
        return number


def _along(numbers: Array, axis: int, rank: int) -> Array:
    return numbers.reshape([-1 if i == axis else 1 for i in range(rank)])


def _move(graph: Graph, node: onnx.NodeProto, made: dict[str, Array], same: _Same) -> bool:
    """Adds the numbers of a move's results; returns whether that can be done."""
    sources = {name: graph.shape(name) for name in data_of(node)}
    if node.op_type in _WITHIN:
        (source, before), after = next(iter(sources.items())), graph.shape(node.output[0])
        if before[1] != after[1]:
            return False
        made[node.output[0]] = _along(same.merge(made[source], 1, before[1]), 1, len(after))
        return True
    feeds = {name: np.broadcast_to(made[name], shape) for name, shape in sources.items()}
    constants = {name: graph.constant(name) for name in node.input if name and name not in sources}
    if any(value is None for value in constants.values()):
        return False
    try:
        results = _evaluate(node, feeds, constants)
    except Exception:  # the reference lacks the operator or the case: its channels then have one scale
        return False
    made.update((name, _compressed(numbers)) for name, numbers in zip(node.output, results, strict=True))
    return True


def _evaluate(node: onnx.NodeProto, feeds: dict[str, Array], constants: dict[str, Any]) -> list[Array]:
    """What a node makes of integers."""
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, value.shape) for name, value in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "move", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    return [np.asarray(one) for one in ReferenceEvaluator(model).run(None, feeds)]


def _compressed(numbers: Array) -> Array:
    """With the size 1 for each axis along which all are equal."""
    for axis in range(numbers.ndim):
        one = numbers.take([0], axis)
        if (numbers == one).all():
            numbers = one
    return numbers
