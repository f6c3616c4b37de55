"""Operators that the standard describes in words only, as graphs of simpler ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .graph import replace_nodes
from .shapes import Types, value_table


class Composer:
    """Makes the nodes that stand for one node.

    Attributes:
        node: it.
        attributes: its attributes by name; those that it leaves out have the standard's defaults.
        types: of the values in reach.
    """

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto, types: Types) -> None:
        self.node, self.types = node, types
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        versions = {entry.domain: entry.version for entry in model.opset_import}
        schema = onnx.defs.get_schema(node.op_type, versions[node.domain], node.domain)
        stated = [a.default_value for a in schema.attributes.values() if a.default_value.name]
        self.attributes: dict[str, Any] = {
            a.name: onnx.helper.get_attribute_value(a) for a in (*stated, *node.attribute)
        }

    def __call__(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one result; returns its name."""
        name = self._name(operator)
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, value: Any, elem_type: int) -> str:
        array = np.asarray(value).astype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
        self.constants.append(numpy_helper.from_array(array, self._name("constant")))
        return str(self.constants[-1].name)

    def type(self, name: str) -> tuple[int, tuple[int, ...] | None]:
        """Element type (0 if unknown) and shape (None if unknown)."""
        return self.types.get(name, (0, None))

    def _name(self, part: str) -> str:
        return f"{self.node.output[0]}/{part}{len(self.nodes) + len(self.constants)}"


# The names of the node's results, in order; None leaves the node as it is.
Rule = Callable[[Composer], Sequence[str] | None]


def compose_operators(model: onnx.ModelProto) -> bool:
    """Replaces the nodes that a rule covers, in a model of operator set 13 or newer; returns whether there are any."""
    from .distances import scanned_distances
    from .tf_idf import tf_idf
    from .training import adagrad, adam, batch_normalization, momentum

    preview = "ai.onnx.preview.training"
    rules: dict[tuple[str, str], Rule] = {
        ("", "BatchNormalization"): batch_normalization,
        ("", "Scan"): scanned_distances,
        ("", "TfIdfVectorizer"): tf_idf,
        (preview, "Adagrad"): adagrad,
        (preview, "Adam"): adam,
        (preview, "Momentum"): momentum,
    }
    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    types = value_table(graph)
    changed = False
    for node in graph.node:
        rule = rules.get((node.domain, node.op_type))
        composer = Composer(model, node, types) if rule else None
        results = rule(composer) if rule and composer else None
        if composer is None or results is None:
            nodes.append(node)
            continue
        changed = True
        nodes += composer.nodes
        graph.initializer.extend(composer.constants)
        nodes += [
            onnx.helper.make_node("Identity", [result], [name])
            for result, name in zip(results, node.output, strict=False)
            if name
        ]
    if changed:
        replace_nodes(graph, nodes)
    return changed
