"""An ONNX graph with its constants, consumers and producers at hand."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..frontend.graph import node_inputs, replace_nodes
from ..frontend.shapes import value_table

Array = np.ndarray[Any, Any]


class Graph:
    """A graph for reading, and its initializers for writing.

    Attributes:
        nodes: in the order in which they run.
        types: ONNX element type and shape by value.
        producer: the node that makes a value.
        users: the nodes that read a value, each once.
        outputs: names of the graph's outputs, and of what graphs inside its nodes read.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self.nodes = list(graph.node)
        self.types = value_table(graph)
        self.outputs = {value.name for value in graph.output}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producer: dict[str, onnx.NodeProto] = {}
        self.users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            self.producer.update((name, node) for name in node.output if name)
            for name in dict.fromkeys(node_inputs(node)):
                self.users[name].append(node)
                if name not in node.input:
                    self.outputs.add(name)

    def constant(self, name: str) -> Array | None:
        """An initializer's value, None if the name is none's."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def is_constant(self, name: str) -> bool:
        return name in self._constants

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value; of one whose shape is unknown, ()."""
        return self.types.get(name, (0, None))[1] or ()

    def is_float(self, name: str) -> bool:
        return self.types.get(name, (0, None))[0] == onnx.TensorProto.FLOAT

    def add_constant(self, name: str, value: Array) -> str:
        """Adds an initializer, in the place of another of that name if there is one; returns the name."""
        tensor = numpy_helper.from_array(np.asarray(value, order="C"), name)
        if name in self._constants:
            self._constants[name].CopyFrom(tensor)
        else:
            self._graph.initializer.append(tensor)
            self._constants[name] = self._graph.initializer[-1]
        self.types[name] = (tensor.data_type, tuple(tensor.dims))
        return name

    def replace(self, nodes: list[onnx.NodeProto]) -> None:
        """Puts other nodes in the place of the graph's, and drops the initializers that none of them reads."""
        replace_nodes(self._graph, nodes)
        read = {name for node in self._graph.node for name in node_inputs(node)} | self.outputs
        kept = [tensor for tensor in self._graph.initializer if tensor.name in read]
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del self._graph.initializer[:]
        self._graph.initializer.extend(copies)
        self.__init__(self._graph)  # type: ignore[misc]
