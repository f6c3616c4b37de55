"""Fixes dynamic dimensions from `--shape`, and looks shapes up."""

from __future__ import annotations

import itertools
import math
import operator
import re
import shlex
from collections.abc import Mapping, Sequence

import onnx

from ..errors import UserError
from .tensors import MAX_TENSOR_ELEMENTS

# Sizes of an input; a range stands for each of its values in turn.
Sizes = Sequence[int | range]

# ONNX element type and static shape (None if unknown) by value name.
Types = dict[str, tuple[int, tuple[int, ...] | None]]

_DIM = r"[0-9]{1,10}(?:\.\.[0-9]{1,10}(?:/[0-9]{1,10})?)?"
_SHAPE = re.compile(rf"(?P<name>.+)=(?P<dims>{_DIM}(?:x{_DIM})*)", re.DOTALL)
# One artifact holds a program for each combination of sizes.
MAX_VERSIONS = 256


def parse_shapes(options: Sequence[str]) -> dict[str, tuple[int | range, ...]]:
    """`["x=1x3x224x224"]` → `{"x": (1, 3, 224, 224)}`; the name may itself hold `=`.

    `1..8` is every size from 1 to 8, `64..512/64` every 64th.

    Raises:
        UserError: malformed, or one input given twice.
    """
    shapes: dict[str, tuple[int | range, ...]] = {}
    for option in options:
        match = _SHAPE.fullmatch(option)
        if not match:
            raise UserError(
                f"--shape {option!r} is malformed",
                fix="write NAME=1x3x224x224, or a range of sizes like 1..8x3x224x224; one --shape an input",
            )
        if match["name"] in shapes:
            raise UserError(f"--shape gives input {match['name']!r} twice", fix="give one --shape an input")
        shapes[match["name"]] = tuple(_parse_size(text, option) for text in match["dims"].split("x"))
    return shapes


def _parse_size(text: str, option: str) -> int | range:
    first, dots, rest = text.partition("..")
    if not dots:
        return int(first)
    last, _, step = rest.partition("/")
    sizes = range(int(first), int(last) + 1, max(1, int(step or 1)))
    if not sizes or int(step or 1) == 0 or sizes[-1] != int(last):
        raise UserError(
            f"--shape {option!r} has the range {text}, which does not go from {first} to {last} in whole steps",
            fix="write it like 1..8 or 64..512/64",
        )
    return sizes


def each_shape(model: onnx.ModelProto, shapes: Mapping[str, Sizes], where: str) -> list[dict[str, tuple[int, ...]]]:
    """The fixed shapes that `shapes` stand for, the largest last; dimensions of one name go together.

    Raises:
        UserError: too many, or ranges that differ for dimensions of one name.
    """
    names = {v.name: [d.dim_param for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    ranges: dict[object, range] = {}
    keys: dict[tuple[str, int], object] = {}
    for name, sizes in shapes.items():
        for axis, size in enumerate(sizes):
            if isinstance(size, range):
                known = names.get(name, [])
                key = keys[name, axis] = (known[axis] if axis < len(known) else "") or (name, axis)
                if ranges.setdefault(key, size) != size:
                    text = f"dimension {key!r} has the ranges {range_text(ranges[key])} and {range_text(size)}"
                    raise UserError(text, where, "dimensions of one name are of one size")
                if not size:
                    raise UserError(f"the range for dimension {axis} of {name!r} is empty", where, "write it like 1..8")
    count = math.prod(map(len, ranges.values()))
    if count > MAX_VERSIONS:
        raise UserError(
            f"--shape asks for {count} combinations of sizes; an artifact holds at most {MAX_VERSIONS}",
            where,
            "use steps, like 64..512/64, or smaller ranges",
        )
    found = []
    for chosen in itertools.product(*(sorted(sizes) for sizes in ranges.values())):
        now = dict(zip(ranges, chosen, strict=True))
        found.append({
            name: tuple(now[keys[name, axis]] if isinstance(size, range) else size for axis, size in enumerate(sizes))
            for name, sizes in shapes.items()
        })  # fmt: skip
    return found


def range_text(size: int | range) -> str:
    """As `--shape` spells it."""
    if isinstance(size, int):
        return str(size)
    return f"{size[0]}..{size[-1]}" + (f"/{size.step}" if size.step != 1 else "")


def suggest_shapes(model: onnx.ModelProto, length: int = 128) -> list[str]:
    """A `--shape` for each input with dynamic dimensions, guessed from their names and places.

    Args:
        length: of sequences.
    """
    initializers = {t.name for t in model.graph.initializer}
    found = []
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if value.name in initializers or static_shape(value) is not None:
            continue
        if not tensor.HasField("shape"):
            found.append(f"{value.name}=1x3x224x224")
            continue
        rank = len(tensor.shape.dim)
        sizes = [
            str(dim.dim_value) if dim.HasField("dim_value") else _guess(dim.dim_param.lower(), axis, rank, length)
            for axis, dim in enumerate(tensor.shape.dim)
        ]
        found.append(f"{value.name}={'x'.join(sizes)}")
    return found


def _guess(name: str, axis: int, rank: int, length: int) -> str:
    if any(part in name for part in ("seq", "len", "token", "time", "past")):
        return str(length)
    if axis == 0 or "batch" in name:
        return "1"
    if rank == 4:
        return "3" if axis == 1 else "224"
    return str(length)


def fix_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], where: str) -> None:
    """Writes `shapes` into the graph's inputs, spreads named dimensions, demands that none is left dynamic.

    Raises:
        UserError: unknown input, wrong rank, contradiction, or dimensions still dynamic (all listed).
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
    missing, examples = [], []
    for name, value in inputs.items():
        tensor = value.type.tensor_type
        for dim in tensor.shape.dim:
            if dim.WhichOneof("value") == "dim_param" and dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
        if not tensor.HasField("shape"):
            missing.append(f"{name}=? (of unknown rank)")
            examples.append(f"{name}=1x3x224x224")
        elif static_shape(value) is None:
            missing.append(f"{name}=" + "x".join(_dim_text(d, "?") for d in tensor.shape.dim))
            examples.append(f"{name}=" + "x".join(_dim_text(d, "1", named=False) for d in tensor.shape.dim))
        elif math.prod(static_shape(value) or ()) > MAX_TENSOR_ELEMENTS:
            raise UserError(f"input {name!r} has more than 2^31 - 1 elements", where, "use a smaller --shape")
    if missing:
        example = " ".join("--shape " + shlex.quote(e) for e in examples)
        raise UserError(
            f"these inputs have dynamic dimensions: {'; '.join(missing)}",
            where,
            f"fix them, for instance {example}",
        )


def _dim_text(dim: onnx.TensorShapeProto.Dimension, unknown: str, named: bool = True) -> str:
    if dim.HasField("dim_value"):
        return str(dim.dim_value)
    return (dim.dim_param if named else "") or unknown


def _apply(value: onnx.ValueInfoProto, shape: Sequence[int], symbols: dict[str, int], where: str) -> None:
    tensor = value.type.tensor_type
    label = f"{where}: input {value.name!r}"
    try:
        sizes = [operator.index(size) for size in shape]
    except TypeError as error:
        raise UserError(
            f"the shape {shape!r} is not a list of whole numbers", label, "give it like [1, 3, 224]"
        ) from error
    if any(size < 0 for size in sizes) or max([math.prod(sizes), *sizes]) > MAX_TENSOR_ELEMENTS:
        raise UserError(
            f"the shape {sizes} is impossible", label, "dimensions are 0 or more, at most 2^31 - 1 elements"
        )
    if not tensor.HasField("shape"):
        tensor.shape.CopyFrom(onnx.TensorShapeProto(dim=[onnx.TensorShapeProto.Dimension() for _ in sizes]))
    fix = "the model's shape: " + ("x".join(_dim_text(d, "?") for d in tensor.shape.dim) or "a scalar")
    if len(tensor.shape.dim) != len(sizes):
        raise UserError(f"--shape gives {len(sizes)} dimensions, the input has {len(tensor.shape.dim)}", label, fix)
    for axis, (dim, size) in enumerate(zip(tensor.shape.dim, sizes, strict=True)):
        if dim.HasField("dim_value") and dim.dim_value != size:
            raise UserError(
                f"--shape gives {size} for dimension {axis}, the model fixes it to {dim.dim_value}",
                label,
                fix,
            )
        if dim.dim_param and symbols.setdefault(dim.dim_param, size) != size:
            text = f"dimension {dim.dim_param!r} is given as {symbols[dim.dim_param]} and as {size}"
            raise UserError(text, label, "dimensions of one name are of one size")
        dim.dim_value = size


def static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape of a value, or None if it is not a tensor of known, fixed shape."""
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or not tensor.HasField("shape"):
        return None
    if not all(d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim):
        return None
    return tuple(d.dim_value for d in tensor.shape.dim)


def value_table(graph: onnx.GraphProto) -> Types:
    """ONNX element type (0 if unknown) and static shape (None if unknown) by name, of initializers too."""
    table: Types = {}
    for value in [*graph.output, *graph.value_info, *graph.input]:
        table[value.name] = (value.type.tensor_type.elem_type, static_shape(value))
    for tensor in graph.initializer:
        table[tensor.name] = (tensor.data_type, tuple(tensor.dims))
    return table
