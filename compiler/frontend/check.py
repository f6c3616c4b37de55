"""Checks an ONNX model before anything is built on it, and puts its nodes into execution order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from google.protobuf.message import Message
from onnx import TensorProto

from ..errors import UserError
from .functions import check_functions
from .graph import DEFAULT_DOMAINS, all_nodes, describe, sort_nodes, subgraphs
from .messages import blame_model
from .tensors import MAX_TENSOR_ELEMENTS

_FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
# Types of inputs and values that kernels handle.
VALUE_TYPES = frozenset(
    getattr(TensorProto, name)
    for name in (*_FLOATS, "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)

_EXPORT = "export the model again"


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set; a model of other domains only counts as the newest."""
    versions = [o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS]
    return max(versions) if versions else int(onnx.defs.onnx_opset_version())


def check_model(model: onnx.ModelProto, where: str) -> None:
    """Raises UserError for a model that is not valid ONNX or beyond what we read; sorts the nodes in place.

    Checks versions, names, the graph's edges (undefined values, cycles), functions, inputs' types and
    sizes, then lets onnx's own checker look at the model, or at each node that it knows.
    """
    _check_versions(model, where)
    _unify_domain(model, where)
    _refuse_own_domains(model, where)
    graph = model.graph
    if not graph.output:
        raise UserError("the graph has no outputs", where, "export the model with at least one output")
    _check_names(graph, where)
    _refuse_sparse(model, where)
    sort_nodes(graph, where)
    check_functions(model, where)
    initializers = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    for value in graph.input:
        if value.name not in initializers:
            _check_input(value, where)
    for value in graph.output:
        _check_output(value, where)
    unknown = _unknown_operators(model)
    if not unknown:
        with blame_model("onnx's checker refuses the model", where, _EXPORT), _ranked(graph):
            onnx.checker.check_model(_without_weights(model))
        return
    # The checker stops at the first operator that it does not know; the support check lists all of them.
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {o.domain: o.version for o in model.opset_import}
    for node in all_nodes(graph.node):
        if (node.domain, node.op_type) not in unknown:
            with blame_model("onnx's checker refuses a node", f"{where}: {describe(node)}", _EXPORT):
                onnx.checker.check_node(_shell(node), context)


def _shell(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node with empty graphs inside, whose nodes are checked by themselves."""
    shell = onnx.NodeProto()
    shell.CopyFrom(node)
    for inner in subgraphs(shell):
        inner.CopyFrom(onnx.GraphProto(name="inside"))
    return shell


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with tensors of no elements as initializers; `load_tensors` has checked what is in them."""
    light = onnx.ModelProto()
    _copy_fields(model, light, "graph")
    _copy_fields(model.graph, light.graph, "initializer")
    for tensor in model.graph.initializer:
        light.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=[0])
    return light


def _copy_fields(source: Message, target: Message, but: str) -> None:
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if field.is_repeated:
            getattr(target, field.name).extend(value)
        elif field.type == field.TYPE_MESSAGE:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)


@contextmanager
def _ranked(graph: onnx.GraphProto) -> Iterator[None]:
    """Hides from the checker that inputs and outputs are of unknown rank; that is fixed later."""
    tensors = [v.type.tensor_type for v in [*graph.input, *graph.output] if v.type.HasField("tensor_type")]
    unranked = [tensor for tensor in tensors if not tensor.HasField("shape")]
    for tensor in unranked:
        tensor.shape.SetInParent()
    try:
        yield
    finally:
        for tensor in unranked:
            tensor.ClearField("shape")


def _unknown_operators(model: onnx.ModelProto) -> set[tuple[str, str]]:
    """Operators that neither the standard, in the model's version, nor the model itself defines."""
    versions = {o.domain: o.version for o in model.opset_import}
    own = {(f.domain, f.name) for f in model.functions}
    nodes = [*all_nodes(model.graph.node), *(n for f in model.functions for n in all_nodes(f.node))]
    unknown = set()
    for domain, operator in {(n.domain, n.op_type) for n in nodes} - own:
        try:
            if onnx.defs.get_schema(operator, versions.get(domain, 1), domain).deprecated:
                unknown.add((domain, operator))
        except onnx.defs.SchemaError:
            unknown.add((domain, operator))
    return unknown


def _check_versions(model: onnx.ModelProto, where: str) -> None:
    for entry in model.opset_import:
        if not 0 < entry.version < 1 << 31:
            text = f"the operator set {entry.domain or 'ai.onnx'!r} has version {entry.version}"
            raise UserError(text, where, "the file is damaged: export it again")
    if model.ir_version > onnx.IR_VERSION:
        raise UserError(
            f"IR version {model.ir_version} is newer than the installed onnx knows ({onnx.IR_VERSION})",
            where,
            "upgrade the onnx package, or export with an older IR version",
        )
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UserError(
            f"operator set {opset} is newer than the installed onnx knows ({newest})",
            where,
            "upgrade the onnx package",
        )


def _unify_domain(model: onnx.ModelProto, where: str) -> None:
    """The default domain has two spellings, which onnx's tools do not take for the same."""
    if len({o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS}) > 1:
        raise UserError("the model imports two versions of the default operator set", where, _EXPORT)
    nodes = [*all_nodes(model.graph.node), *(n for f in model.functions for n in all_nodes(f.node))]
    for node in nodes:
        if node.domain == "ai.onnx":
            node.domain = ""
    imports = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    if "" not in imports and any(n.domain == "" for n in all_nodes(model.graph.node)):
        raise UserError("the model does not say which operator set it is written for", where, _EXPORT)
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*item) for item in imports.items())


def _refuse_own_domains(model: onnx.ModelProto, where: str) -> None:
    """Names that the compiler gives to nodes on its way mean nothing in a file."""
    for domain in sorted({n.domain for n in all_nodes(model.graph.node)} | {f.domain for f in model.functions}):
        if domain.split(".")[0] == "edgec":
            raise UserError(
                f"the model uses the domain {domain!r}, which the compiler keeps for itself", where, _EXPORT
            )


def _check_names(graph: onnx.GraphProto, where: str) -> None:
    for kind, values in (
        ("input", graph.input),
        ("output", graph.output),
        ("initializer", graph.initializer),
    ):
        names = [v.name for v in values]
        if "" in names:
            article = "an" if kind[0] in "aeiou" else "a"
            raise UserError(f"{article} {kind} of the graph has no name", where, "name it, and export again")
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice and kind != "output":  # the same value twice among the outputs is legal
            raise UserError(f"{kind} name given twice: {', '.join(map(repr, twice))}", where, "rename one of them")


def _refuse_sparse(model: onnx.ModelProto, where: str) -> None:
    graphs = [model.graph, *(g for node in all_nodes(model.graph.node) for g in subgraphs(node))]
    names = ", ".join(repr(t.values.name) for graph in graphs for t in graph.sparse_initializer)
    if names:
        raise UserError(f"sparse initializers are not supported: {names}", where, "export the weights as dense tensors")


def _check_output(value: onnx.ValueInfoProto, where: str) -> None:
    kind = value.type.WhichOneof("value")
    if kind not in (None, "tensor_type"):
        text, label = _kind_text(kind), f"{where}: output {value.name!r}"
        raise UserError(f"the output is {text}, not a tensor", label, "export the model with tensors as outputs")


def _kind_text(kind: str) -> str:
    text = kind.removesuffix("_type").replace("_", " ")
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _check_input(value: onnx.ValueInfoProto, where: str) -> None:
    label = f"{where}: input {value.name!r}"
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        text = _kind_text(kind) if kind else "a value without a type"
        raise UserError(f"the input is {text}, not a tensor", label, "export the model with tensors as inputs")
    tensor = value.type.tensor_type
    if tensor.elem_type not in VALUE_TYPES and tensor.elem_type != TensorProto.STRING:
        known = tensor.elem_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(tensor.elem_type).lower() if known else f"an unknown type ({tensor.elem_type})"
        raise UserError(
            f"the input's elements are {name}", label, "use bool, integers of 8 bits or more, or floats of 16 or more"
        )
    elements = 1
    for dim in tensor.shape.dim:
        if dim.HasField("dim_value"):
            if dim.dim_value == -1:
                dim.ClearField("dim_value")  # some exporters write -1 for a dynamic dimension
                continue
            if dim.dim_value < 0:
                raise UserError(f"negative dimension {dim.dim_value}", label, _EXPORT)
            elements = max(elements * dim.dim_value, dim.dim_value)
    if elements > MAX_TENSOR_ELEMENTS:
        raise UserError(f"the input has {elements} elements, more than 2^31 - 1", label, "use a smaller model")
