"""Which operators can be converted, and the expansion of those that cannot but have a function body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import onnx
import onnx.inliner

from .check import describe, opset_of
from .ops import CONVERTERS

DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Obstacle:
    """One node that cannot be compiled.

    Attributes:
        node: `Conv 'name'`.
        operator: `Conv`, with its domain unless that is the default.
        reason: why, in a sentence.
    """

    node: str
    operator: str
    reason: str


@cache
def converters() -> frozenset[str]:
    """Operators of the default domain that TVM's importer converts."""
    from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

    # Sequences and optionals have no place in a static graph of tensors.
    refused = {"If", "Loop", "Scan", "Optional", "OptionalGetElement", "OptionalHasElement"}
    return frozenset(op for op in _get_convert_map() if op not in refused and "Sequence" not in op)


def operator_name(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"


def is_supported(node: onnx.NodeProto) -> bool:
    return node.domain in DEFAULT_DOMAINS and (node.op_type in CONVERTERS or node.op_type in converters())


def expand_functions(model: onnx.ModelProto, forced: frozenset[str] = frozenset()) -> onnx.ModelProto:
    """Inlines the model's own functions, and the standard's function bodies of operators without a converter.

    Args:
        forced: operators to expand although a converter exists, because that refused a node.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model, convert_version=True)
    opset = opset_of(model)
    expandable = {
        (node.domain, node.op_type)
        for node in model.graph.node
        if (node.op_type in forced or not is_supported(node)) and has_body(node, opset)
    }
    if not expandable:
        return model
    # Bodies that depend on the types of their inputs need those of initializers too.
    for tensor in model.graph.initializer:
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return onnx.inliner.inline_selected_functions(model, sorted(expandable), inline_schema_functions=True)


def has_body(node: onnx.NodeProto, opset: int) -> bool:
    """Whether the standard defines the operator by a graph of simpler ones."""
    if node.domain not in DEFAULT_DOMAINS or not onnx.defs.has(node.op_type, node.domain):
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def find_obstacles(graph: onnx.GraphProto, reason_of: Callable[[onnx.NodeProto], str] | None = None) -> list[Obstacle]:
    """Every node that neither a converter nor a function body covers."""
    reason_of = reason_of or default_reason
    return [
        Obstacle(describe(node), operator_name(node), reason_of(node)) for node in graph.node if not is_supported(node)
    ]


def default_reason(node: onnx.NodeProto) -> str:
    if node.domain not in DEFAULT_DOMAINS:
        return f"operators of domain {node.domain!r} are not supported yet"
    if not onnx.defs.has(node.op_type, node.domain):
        return "the ONNX standard has no such operator"
    return "no converter yet, and the standard gives it no function body that could be expanded"
