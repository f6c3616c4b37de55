"""Fixes dynamic dimensions from `--shape` and infers the shape of every value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx

from ..errors import UserError
from .read import MAX_TENSOR_ELEMENTS

_SHAPE = re.compile(r"(?P<name>.+)=(?P<dims>\d+(?:x\d+)*)$")


def parse_shapes(options: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """`["x=1x3x224x224"]` → `{"x": (1, 3, 224, 224)}`; the name may itself hold `=`.

    Raises:
        UserError: malformed, or one input given twice.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for option in options:
        match = _SHAPE.match(option)
        if not match:
            raise UserError(f"--shape {option!r} is malformed", fix="write NAME=1x3x224x224, one --shape an input")
        if match["name"] in shapes:
            raise UserError(f"--shape gives input {match['name']!r} twice")
        shapes[match["name"]] = tuple(int(d) for d in match["dims"].split("x"))
    return shapes


def fix_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], where: str) -> None:
    """Writes `shapes` into the graph's inputs, spreads named dimensions, and demands that none is left dynamic.

    Raises:
        UserError: unknown input, wrong rank, a contradiction, or dimensions that are still dynamic (all listed).
    """
    initializers = {t.name for t in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in initializers}
    for name in shapes:
        if name not in inputs:
            known = ", ".join(inputs) or "none"
            raise UserError(f"--shape names {name!r}, which is no input of the model", where, f"inputs: {known}")
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        _apply(inputs[name], shape, symbols, where)
    missing = []
    for name, value in inputs.items():
        if not value.type.tensor_type.HasField("shape"):
            missing.append(f"{name}=? (unknown rank)")
            continue
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols and not dim.HasField("dim_value"):
                dim.dim_value = symbols[dim.dim_param]
        dims = value.type.tensor_type.shape.dim
        if not all(d.HasField("dim_value") for d in dims):
            missing.append(f"{name}=" + "x".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims))
    if missing:
        example = " ".join("--shape " + re.sub(r"(?<=[=x])[^x\d][^x]*", "1", m.split(" ")[0]) for m in missing)
        raise UserError(
            f"these inputs have dynamic dimensions: {'; '.join(missing)}", where, f"fix them, for instance {example}"
        )


def _apply(value: onnx.ValueInfoProto, shape: Sequence[int], symbols: dict[str, int], where: str) -> None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        tensor.shape.CopyFrom(onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension() for _ in shape]))
    label = f"{where}: input {value.name!r}"
    if len(tensor.shape.dim) != len(shape):
        raise UserError(f"--shape gives {len(shape)} dimensions, the input has {len(tensor.shape.dim)}", label)
    for axis, (dim, size) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        if dim.HasField("dim_value") and dim.dim_value != size:
            raise UserError(f"--shape gives {size} for dimension {axis}, the model fixes it to {dim.dim_value}", label)
        if dim.dim_param and symbols.setdefault(dim.dim_param, size) != size:
            raise UserError(f"dimension {dim.dim_param!r} is given as {symbols[dim.dim_param]} and as {size}", label)
        dim.dim_value = size


def infer_shapes(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model with a shape for every value that onnx can infer; shapes that the file claims are not trusted.

    Raises:
        UserError: shapes that contradict each other, with the node that onnx names.
    """
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"the shapes of the graph contradict each other: {text[:400]}", where) from error


def static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape of a value, or None if it is not a tensor of known, fixed shape."""
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or not tensor.HasField("shape"):
        return None
    if not all(d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def value_table(graph: onnx.GraphProto) -> dict[str, tuple[int, tuple[int, ...] | None]]:
    """ONNX element type and static shape (None if unknown) by value name, initializers included."""
    table: dict[str, tuple[int, tuple[int, ...] | None]] = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        table[value.name] = (value.type.tensor_type.elem_type, static_shape(value))
    for tensor in graph.initializer:
        table[tensor.name] = (tensor.data_type, tuple(tensor.dims))
    return table


def check_sizes(graph: onnx.GraphProto, where: str) -> None:
    """Raises UserError for a value that 32-bit indices cannot reach."""
    for name, (_, shape) in value_table(graph).items():
        elements = 1
        for dim in shape or ():
            elements *= dim
        if elements > MAX_TENSOR_ELEMENTS:
            raise UserError(f"value {name!r} has {elements} elements, more than 2^31 - 1", where, "use a smaller --shape")
