"""Infers the type and shape of every value with onnx, without weights and in steps that it survives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx

from ..errors import UserError
from . import counted, flow, programs
from .domains import COUNTED, FLOW, PROGRAMS
from .graph import all_nodes, describe, node_inputs, replace_nodes
from .messages import blame_model
from .shapes import value_table
from .tensors import MAX_TENSOR_ELEMENTS

# Larger constants never tell a shape; without them inference copies little.
_MAX_SHAPE_ELEMENTS = 1024
# Operators that onnx gives a negative size if their window or parameters do not fit, and no error.
_WINDOWS = (
    "AveragePool",
    "Col2Im",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DeformConv",
    "LpPool",
    "MaxPool",
)
_SIZED = ("CenterCropPad", "Expand", "MaxUnpool", "Pad", "Resize", "RoiAlign", "Split", "TopK", "Upsample")
_SHRINKING = frozenset((*_WINDOWS, "QLinearConv", *_SIZED))
_MAX_STEPS = 64
# By domain, the types of what nodes of our own make.
_OWN = {COUNTED: counted.output_types, FLOW: flow.output_types, PROGRAMS: programs.output_types}

FEW_BITS = ("MatMulNBits", "GatherBlockQuantized")

_CONTRADICTION = "the shapes or types of the graph contradict each other"


def infer_shapes(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model with a shape for every value that onnx can infer; what the file claims is not trusted.

    Raises:
        UserError: shapes that contradict each other, or cannot be, with the node.
    """
    graph = model.graph
    light = _without_weights(model)
    # onnx ends the whole process at a Slice of a negative size, so sizes are checked before it gets there.
    for nodes in _steps(light.graph.node):
        step = onnx.ModelProto()
        step.CopyFrom(light)
        del step.graph.node[:], step.graph.output[:]
        step.graph.node.extend(nodes)
        _check_sizes(_infer(step, where).graph, where)
    inferred = _infer(light, where).graph
    _check_sizes(inferred, where)
    nodes = iter(inferred.node)
    kept = [(node, None if node.domain in _OWN else next(nodes)) for node in graph.node]
    replace_nodes(graph, [node if made is None or node.op_type in FEW_BITS else made for node, made in kept])
    for field in ("output", "value_info"):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(getattr(inferred, field))
    outputs = {value.name for value in graph.output}
    graph.value_info.extend(value for value in _own_results(graph) if value.name not in outputs)
    return model


def _own_results(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The values that nodes of our own make, of which onnx knows nothing."""
    return [
        onnx.helper.make_tensor_value_info(name, elem_type, shape)
        for node in graph.node
        if node.domain in _OWN
        for name, (elem_type, shape) in zip(node.output, _OWN[node.domain](node), strict=False)
        if name
    ]


def _infer(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    # Strict inference refuses operators that it does not know; those are reported later.
    strict = all(onnx.defs.has(node.op_type, node.domain) for node in all_nodes(model.graph.node))
    fix = "export the model again; if --shape was given, check it"
    with blame_model(_CONTRADICTION, where, fix):
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=strict, data_prop=True)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inputs in the place of large constants, and without types that nothing proves."""
    graph, light = model.graph, onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.graph.name = graph.name
    few_bits = _few_bits_as_floats(graph)
    stand_ins = {name: product for product, _ in few_bits for name in product.output}
    for node in graph.node:
        if node.domain not in _OWN:
            light.graph.node.append(stand_ins.get(node.output[0], node) if node.op_type in FEW_BITS else node)
    light.graph.input.extend(graph.input)
    light.graph.input.extend(weights for _, weights in few_bits)
    light.graph.input.extend(_own_results(graph))
    light.graph.output.extend(graph.output)
    given = {v.name: v.type for v in light.graph.input}
    for tensor in graph.initializer:
        typed = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        given[tensor.name] = typed.type
        if math.prod(tensor.dims) > _MAX_SHAPE_ELEMENTS:
            light.graph.input.append(typed)
        else:
            light.graph.initializer.append(tensor)
    for output in light.graph.output:
        if output.name in given:
            output.type.CopyFrom(given[output.name])
        elif output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    return light


def _few_bits_as_floats(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, onnx.ValueInfoProto]]:
    """Nodes in the place of those with weights of few bits, which onnx does not know, and their weights as floats."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type not in FEW_BITS or len(node.input) < 3 or node.input[2] not in tensors:
            continue
        sizes, name = {a.name: a.i for a in node.attribute}, f"{node.output[0]}/weights"
        if node.op_type == "GatherBlockQuantized":
            table = tensors.get(node.input[0])
            if table is None or sizes.get("gather_axis", 0) or len(table.dims) != 2:
                continue
            made = onnx.helper.make_node("Gather", [name, node.input[1]], node.output[:1], node.name)
            packed = 2 if table.data_type == onnx.TensorProto.UINT8 and sizes.get("bits", 4) == 4 else 1
            shape = [table.dims[0], table.dims[1] * packed]
        elif sizes.get("K", 0) > 0 and sizes.get("N", 0) > 0:
            made = onnx.helper.make_node("MatMul", [node.input[0], name], node.output[:1], node.name)
            shape = [sizes["K"], sizes["N"]]
        else:
            continue
        found.append((made, onnx.helper.make_tensor_value_info(name, tensors[node.input[2]].data_type, shape)))
    return found


def _steps(nodes: Sequence[onnx.NodeProto]) -> Iterator[list[onnx.NodeProto]]:
    """For each Slice after an operator that may make a negative size: the nodes that come before it."""
    levels: dict[str, tuple[int, bool]] = {}  # by value: steps before it, whether it may be negative
    by_node = []
    for node in nodes:
        sources = [levels.get(name, (0, False)) for name in node_inputs(node)]
        level, suspect = max((s[0] for s in sources), default=0), any(s[1] for s in sources)
        inside = {inner.op_type for inner in all_nodes([node])}
        if "Slice" in inside and (suspect or inside & _SHRINKING):
            level, suspect = level + 1, False
        suspect = suspect or bool(inside & _SHRINKING)
        by_node.append(level)
        levels.update(dict.fromkeys(node.output, (level, suspect)))
    for step in range(min(max(by_node, default=0), _MAX_STEPS)):
        yield [node for node, level in zip(nodes, by_node, strict=True) if level <= step]


def _check_sizes(graph: onnx.GraphProto, where: str) -> None:
    """Raises UserError for sizes below zero, and for those that 32-bit indices cannot reach."""
    producers = {name: node for node in graph.node for name in node.output}
    for value in [*graph.value_info, *graph.output]:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        if any(d < 0 for d in dims) and value.name in producers:
            raise UserError(
                f"the result {value.name!r} has the impossible shape {dims}",
                f"{where}: {describe(producers[value.name])}",
                "its input is too small for it: use a larger --shape",
            )
    for name, (_, shape) in value_table(graph).items():
        elements = math.prod(shape or ())
        if elements > MAX_TENSOR_ELEMENTS:
            raise UserError(
                f"value {name!r} has {elements} elements, more than 2^31 - 1", where, "use a smaller --shape"
            )
