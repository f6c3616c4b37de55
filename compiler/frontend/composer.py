"""What a graph for one node is written with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .shapes import Types


class Composer:
    """Makes the nodes that stand for one node.

    Attributes:
        node: it.
        attributes: its attributes by name; those that it leaves out have the standard's defaults.
        types: of the values in reach.
    """

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto, types: Types) -> None:
        self.node, self.types = node, types
        self._graph = model.graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        versions = {entry.domain: entry.version for entry in model.opset_import}
        schema = onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain)
        stated = [a.default_value for a in schema.attributes.values() if a.default_value.name]
        self.attributes: dict[str, Any] = {
            a.name: onnx.helper.get_attribute_value(a) for a in (*stated, *node.attribute)
        }
        self._prefix = next(filter(None, node.output))

    def __call__(
        self, operator: str, *inputs: str, into: str = "", domain: str = "", outputs: int = 1, **attributes: Any
    ) -> str:
        """Adds a node; returns the name of its first result, which `into` may say; the others have `/1`… behind it."""
        name = into or self._name(operator)
        names = [name, *(f"{name}/{i}" for i in range(1, outputs))]
        self.nodes.append(onnx.helper.make_node(operator, inputs, names, name=name, domain=domain, **attributes))
        return name

    def constant(self, value: Any, elem_type: int = 0) -> str:
        """An initializer; 0 leaves the value's type as NumPy has it."""
        array = np.asarray(value)
        if elem_type:
            array = array.astype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
        self.constants.append(numpy_helper.from_array(array, self._name("constant")))
        return str(self.constants[-1].name)

    def is_constant(self, name: str) -> bool:
        return any(tensor.name == name for tensor in self._graph.initializer)

    def type(self, name: str) -> tuple[int, tuple[int, ...] | None]:
        """Element type (0 if unknown) and shape (None if unknown)."""
        return self.types.get(name, (0, None))

    def reshape(self, value: str, *shape: int) -> str:
        return self("Reshape", value, self.constant(np.array(shape, np.int64)))

    def _name(self, part: str) -> str:
        return f"{self._prefix}/{part}{len(self.nodes) + len(self.constants)}"
