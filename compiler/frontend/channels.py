"""Channels of values, and how nodes tie them; see `dead_channels.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .shapes import Types

Array = np.ndarray[Any, Any]


@dataclass
class Channels:
    """The channels of a value.

    Attributes:
        axis: that counts them.
        constant: by channel, the number that all of its elements are.
        known: whether there is one.
        needed: whether the channel has to stay.
    """

    axis: int
    constant: Array
    known: Array
    needed: Array

    @property
    def size(self) -> int:
        return len(self.known)


class Graph:
    """A model, and what is known of the channels of its values.

    Attributes:
        values: by name, those whose channels may go.
        constants: initializers.
        made: new ones.
    """

    def __init__(self, model: onnx.ModelProto, types: Types) -> None:
        self.model, self.types = model, types
        self.values: dict[str, Channels] = {}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.made: list[onnx.TensorProto] = []

    def shape(self, name: str) -> tuple[int, ...] | None:
        return self.types.get(name, (0, None))[1]

    def array(self, name: str) -> Array:
        """An initializer's."""
        return numpy_helper.to_array(self.constants[name])

    def follow(self, name: str, axis: int, constant: Array | None = None, known: Array | None = None) -> None:
        """Begins to follow a value's channels."""
        none = np.zeros((self.shape(name) or ())[axis], bool)
        known = none if known is None else known
        constant = np.zeros(len(none)) if constant is None else np.where(known, constant, 0.0)
        self.values[name] = Channels(axis, constant, known, none.copy())

    def need_all(self, name: str) -> None:
        if name in self.values:
            self.values[name].needed[:] = True

    def count_needed(self) -> int:
        return sum(int(value.needed.sum()) for value in self.values.values())

    def replace(self, name: str, array: Array) -> str:
        """A new initializer in the place of one."""
        if name and np.array_equal(array, self.array(name)):
            return name
        made = f"{name or 'edgec'}/kept{len(self.made)}"
        self.made.append(numpy_helper.from_array(np.ascontiguousarray(array), made))
        return made


class Link:
    """A node that ties channels.

    Attributes:
        node: the node.
        inputs: the values that it reads whose channels are followed; their channels stay together with those of the
            result, entry by entry along the axis.
        each: entries of the result for a channel.
        constants: initializers by the axis along which they have a channel's numbers.
    """

    def __init__(
        self, node: onnx.NodeProto, inputs: list[str], each: int = 1, constants: Mapping[str, int] | None = None
    ) -> None:
        self.node, self.inputs, self.each, self.constants = node, inputs, each, dict(constants or {})

    def spread(self, graph: Graph) -> None:
        """Brings what is needed of the inputs and of the result into line."""
        result = graph.values[self.node.output[0]]
        needed = result.needed.reshape(-1, self.each).any(axis=1)
        for name in self.inputs:
            needed = needed | graph.values[name].needed
        for name in self.inputs:
            graph.values[name].needed[:] = needed
        result.needed[:] = np.repeat(needed, self.each)

    def rewrite(self, graph: Graph) -> list[onnx.NodeProto]:
        """The node on what is left."""
        node, kept = onnx.NodeProto(), graph.values[self.node.output[0]].needed
        node.CopyFrom(self.node)
        if kept.all():
            return [node]
        for place, name in enumerate(node.input):
            if name in self.constants:
                node.input[place] = graph.replace(name, graph.array(name).compress(kept, axis=self.constants[name]))
        if node.op_type == "Conv":  # depthwise
            set_attribute(node, "group", int(kept.sum()))
        elif node.op_type == "Reshape":
            shape = list(graph.shape(node.output[0]) or ())
            shape[graph.values[node.output[0]].axis] = int(kept.sum())
            node.input[1] = graph.replace(node.input[1], np.array(shape, np.int64))
            set_attribute(node, "allowzero", 0)
        return [node]


class Joined(Link):
    """A Concat along the channels; all its inputs are followed."""

    def spread(self, graph: Graph) -> None:
        needed, start = graph.values[self.node.output[0]].needed, 0
        for name in self.inputs:
            part = graph.values[name].needed
            both = part | needed[start : start + len(part)]
            part[:] = needed[start : start + len(part)] = both
            start += len(part)


def attribute_of(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def set_attribute(node: onnx.NodeProto, name: str, value: int) -> None:
    for attribute in node.attribute:
        if attribute.name == name:
            attribute.i = value
            return
    node.attribute.append(helper.make_attribute(name, value))
