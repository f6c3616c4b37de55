"""Which operators can be converted, and the expansion of those that cannot but have a function body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
import onnx.inliner

from .bodies import BODIES
from .check import opset_of
from .domains import COUNTED, EXPANDED, FLOW, PROGRAMS
from .flow import body_graphs
from .graph import DEFAULT_DOMAINS, all_nodes, describe
from .messages import blame_model
from .ops import CONVERTERS
from .shapes import Types, value_table


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
    if node.domain in (COUNTED, PROGRAMS):
        return True
    if node.domain == FLOW:
        return all(is_supported(inner) for body in body_graphs(node) for inner in body.node)
    return node.domain in DEFAULT_DOMAINS and (node.op_type in CONVERTERS or node.op_type in converters())


def support_of(node: onnx.NodeProto, versions: Mapping[str, int]) -> str:
    """By what an operator is supported: `ours`, `TVM`, `body` (simpler operators stand for it), `flow` or `no`."""
    if node.op_type in ("If", "Loop", "Scan") and not node.domain:
        return "flow"
    if node.op_type == "Constant" and not node.domain:
        return "ours"
    if node.domain in DEFAULT_DOMAINS and node.op_type in CONVERTERS:
        return "ours"
    if is_supported(node):
        return "TVM"
    own = (node.domain, node.op_type) in BODIES
    return "body" if own or has_body(node, versions) else "no"


def expand_operators(model: onnx.ModelProto, forced: frozenset[str], where: str) -> onnx.ModelProto:
    """Expands operators without a converter to the function bodies that the standard gives them.

    Args:
        forced: operators to expand although a converter exists, because that refused a node.

    Returns:
        The model itself if there is nothing to expand.
    """
    opsets = opsets_of(model)
    expandable = {
        (node.domain, node.op_type)
        for node in model.graph.node
        if (node.op_type in forced or not is_supported(node)) and has_body(node, opsets)
    }
    if not expandable:
        return model
    types = value_table(model.graph)
    for index, node in enumerate(model.graph.node):
        if (node.domain, node.op_type) in expandable:
            with blame_model("the node cannot be expanded to simpler ones", f"{where}: {describe(node)}"):
                function = _body(node, opsets, types)
                function.domain, function.name = EXPANDED, f"{node.op_type}{index}"
                model.functions.append(function)
                node.domain, node.op_type = function.domain, function.name
    model.opset_import.append(onnx.helper.make_opsetid(EXPANDED, 1))
    with blame_model("operators cannot be expanded to simpler ones", where):
        model = onnx.inliner.inline_local_functions(model, convert_version=True)
    imports = [entry for entry in model.opset_import if entry.domain != EXPANDED]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model


def opsets_of(model: onnx.ModelProto) -> dict[str, int]:
    """The version of each domain's operators."""
    return {entry.domain: entry.version for entry in model.opset_import} | {"": opset_of(model)}


def state_defaults(model: onnx.ModelProto) -> None:
    """Writes the defaults of attributes into nodes that have function bodies.

    Bodies refer to attributes without regard to their defaults; shape inference looks into some of them.
    """
    opsets = opsets_of(model)
    for node in all_nodes(model.graph.node):
        if has_body(node, opsets):
            _state_defaults(node, onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain))


def _state_defaults(node: onnx.NodeProto, schema: Any) -> None:
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            node.attribute.append(attribute.default_value)


def _body(node: onnx.NodeProto, opsets: Mapping[str, int], types: Types) -> onnx.FunctionProto:
    """The function that the standard gives for a node, and for the types of its inputs."""
    opset = opsets[node.domain]
    schema: Any = onnx.defs.get_schema(node.op_type, opset, node.domain)
    _state_defaults(node, schema)
    if schema.has_function:
        written = max(v for v in schema.function_opset_versions if v <= opset)
        body = schema.get_function_with_opset_version(written)
    else:
        written = max(v for v in schema.context_dependent_function_opset_versions if v <= opset)
        inputs = [_type(*types.get(name, (0, None))).SerializeToString() for name in node.input]
        body = schema.get_context_dependent_function_with_opset_version(written, node.SerializeToString(), inputs)
    function = onnx.FunctionProto()
    function.ParseFromString(body)
    # The standard writes a new body whenever an operator in it changes its meaning.
    for entry in function.opset_import:
        entry.version = opset if entry.domain == node.domain else entry.version
    return function


def _type(elem_type: int, shape: tuple[int, ...] | None) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(elem_type, shape) if elem_type else onnx.TypeProto()


def has_body(node: onnx.NodeProto, opsets: Mapping[str, int]) -> bool:
    """Whether the standard defines the operator by a graph of simpler ones."""
    if node.domain not in opsets or not onnx.defs.has(node.op_type, node.domain):
        return False
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def find_obstacles(graph: onnx.GraphProto, reasons: Mapping[str, str] | None = None) -> list[Obstacle]:
    """Every node that neither a converter nor a function body covers.

    Args:
        reasons: why not, where more is known, by the node's first result.
    """
    found = []
    for node in graph.node:
        if node.domain == FLOW:
            found += [obstacle for body in body_graphs(node) for obstacle in find_obstacles(body)]
        elif not is_supported(node):
            reason = (reasons or {}).get(node.output[0]) or default_reason(node)
            found.append(Obstacle(describe(node), operator_name(node), reason))
    return found


def default_reason(node: onnx.NodeProto) -> str:
    if node.op_type == "Gradient":
        return "gradients are for training: export the model without them, or with the operators that compute them"
    if node.domain not in DEFAULT_DOMAINS:
        return f"this operator of domain {node.domain!r} is not supported"
    if not onnx.defs.has(node.op_type, node.domain):
        return "the ONNX standard has no such operator"
    if node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial"):
        return "its results are random: make them outside of the model, as an input of it"
    if node.op_type.startswith("String") or node.op_type in ("RegexFullMatch", "TfIdfVectorizer"):
        return "there are no strings on a device: encode them as numbers before the model"
    if "Sequence" in node.op_type or node.op_type.startswith("Optional"):
        return "a sequence is compiled where shapes and constants tell how long it is, and which elements are read"
    return "no converter yet, and the standard gives it no function body that could be expanded"
