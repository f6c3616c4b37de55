"""Checks an ONNX graph before anything is built on it, and puts its nodes into execution order."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter

import onnx

from ..errors import UserError
from .read import MAX_TENSOR_ELEMENTS

# Older operator sets broadcast and pass axes by rules of their own; onnxruntime's promise starts here too.
MIN_OPSET = 7


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set; a model of other domains only counts as the newest."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return max(versions) if versions else onnx.defs.onnx_opset_version()


def check_model(model: onnx.ModelProto, where: str) -> None:
    """Raises UserError for a model that is not valid ONNX or beyond what we read; sorts the nodes in place.

    Checks versions, names, the graph's edges (undefined values, cycles), inputs' and outputs' types and
    sizes, then lets onnx's own checker look at each node.
    """
    _check_versions(model, where)
    graph = model.graph
    if not graph.output:
        raise UserError("the graph has no outputs", where, "export the model with at least one output")
    _check_names(graph, where)
    _sort_nodes(graph, where)
    initializers = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    for value in graph.input:
        if value.name not in initializers:
            _check_input(value, where)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        text = str(error).strip()
        # Operators of unknown domains are the business of the support check, which lists all of them.
        if "No Op registered" not in text and "domain_version" not in text and "No opset import" not in text:
            raise UserError(f"onnx's checker refuses the model: {text.splitlines()[0]}", where) from error


def _check_versions(model: onnx.ModelProto, where: str) -> None:
    if model.ir_version > onnx.IR_VERSION:
        raise UserError(
            f"IR version {model.ir_version} is newer than the installed onnx knows ({onnx.IR_VERSION})",
            where,
            "upgrade the onnx package, or export with an older IR version",
        )
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UserError(
            f"operator set {opset} is newer than the installed onnx knows ({newest})", where, "upgrade the onnx package"
        )
    if opset < MIN_OPSET:
        raise UserError(
            f"operator set {opset} is too old (at least {MIN_OPSET})",
            where,
            "convert it first: onnx.version_converter.convert_version(model, 17)",
        )


def _check_names(graph: onnx.GraphProto, where: str) -> None:
    for kind, values in (("input", graph.input), ("output", graph.output), ("initializer", graph.initializer)):
        names = [v.name for v in values]
        if "" in names:
            raise UserError(f"an {kind} of the graph has no name", where)
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(f"{kind} name given twice: {', '.join(map(repr, twice))}", where, "rename one of them")


def _sort_nodes(graph: onnx.GraphProto, where: str) -> None:
    """Stable topological order; the standard asks for it, but exporters forget."""
    producer: dict[str, int] = {}
    known = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    known |= {t.values.name for t in graph.sparse_initializer}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and (name in producer or name in known):
                raise UserError(f"value {name!r} is produced twice", f"{where}: {describe(node)}")
            producer[name] = index
    available = known | set(producer)
    edges: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node_inputs(node):
            if name not in available:
                raise UserError(f"value {name!r} is used but nothing produces it", f"{where}: {describe(node)}")
        edges[index] = [producer[name] for name in node_inputs(node) if name in producer]
    for value in graph.output:
        if value.name not in available:
            raise UserError(f"output {value.name!r} is produced by nothing", where)
    if all(source < index for index, sources in edges.items() for source in sources):
        return
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        cycle = " -> ".join(describe(graph.node[i]) for i in error.args[1][:6])
        raise UserError(f"the graph has a cycle: {cycle}", where, "export the model again") from error
    nodes = [graph.node[i] for i in order]
    del graph.node[:]
    graph.node.extend(nodes)


def node_inputs(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads from its own graph, those that its subgraphs capture included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
            inside = {v.name for v in graph.input} | {t.name for t in graph.initializer}
            for inner in graph.node:
                names += [name for name in node_inputs(inner) if name not in inside]
                inside |= set(inner.output)
            names += [v.name for v in graph.output if v.name not in inside]
    return names


def describe(node: onnx.NodeProto) -> str:
    """`Conv 'name'`, for messages; a nameless node goes by its first output."""
    kind = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    name = node.name or next((o for o in node.output if o), "?")
    return f"{kind} {name!r}"


def _check_input(value: onnx.ValueInfoProto, where: str) -> None:
    label = f"{where}: input {value.name!r}"
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UserError(f"the input is a {kind or 'value without a type'}, not a tensor", label)
    tensor = value.type.tensor_type
    if tensor.elem_type == onnx.TensorProto.STRING:
        raise UserError("the input holds strings", label, "encode them before the model")
    elements = 1
    for dim in tensor.shape.dim:
        if dim.HasField("dim_value"):
            if dim.dim_value == -1:
                dim.ClearField("dim_value")  # some exporters write -1 for a dynamic dimension
                continue
            if dim.dim_value < 0:
                raise UserError(f"negative dimension {dim.dim_value}", label, "give the true shape with --shape")
            elements *= dim.dim_value
    if elements > MAX_TENSOR_ELEMENTS:
        raise UserError(f"the input has {elements} elements, more than 2^31 - 1", label)
