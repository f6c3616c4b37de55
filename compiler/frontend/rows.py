"""Models that treat every row of their inputs by itself, as classical ones do: they take any number of rows.

Such a model is compiled for blocks of a few sizes, and whatever number of rows it gets is handed to them in turn. That
is right only if no row has a part in another one's results, which is proven here: of each value the place of the rows
is followed through the graph, from the first axis of the inputs to the first axis of the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from ..errors import UserError
from .row_rules import Mixed, Rows, Walk
from .shapes import value_table

BLOCKS = (1, 8, 64, 512)  # rows
# For graphs of so many nodes as take long to compile, and of which each makes a kernel in every block.
FEW_BLOCKS = (1, 64)
_MANY_NODES = 500


def rows_shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]] | None:
    """The inputs' shapes with None for the number of rows, of models whose inputs are [rows] or [rows, features].

    None if an input has another form, or all have a fixed number of rows.
    """
    initializers = {tensor.name for tensor in model.graph.initializer}
    shapes: dict[str, tuple[int | None, ...]] = {}
    names = set()
    for value in model.graph.input:
        if value.name in initializers:
            continue
        dims = list(value.type.tensor_type.shape.dim)
        if value.type.WhichOneof("value") != "tensor_type" or len(dims) not in (1, 2):
            return None
        if dims[0].HasField("dim_value") or not all(d.HasField("dim_value") for d in dims[1:]):
            return None
        names.add(dims[0].dim_param)
        shapes[value.name] = (None, *(d.dim_value for d in dims[1:]))
    return shapes if shapes and len(names) == 1 else None


def blocks_of(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int | None]]) -> list[dict[str, tuple[int, ...]]]:
    """The inputs' shapes with each number of rows that a model is compiled for."""
    blocks = BLOCKS if len(model.graph.node) <= _MANY_NODES else FEW_BLOCKS
    return [{name: tuple(rows if n is None else n for n in shape) for name, shape in shapes.items()} for rows in blocks]


def open_shape(shape: Sequence[int], axis: int, rows: int) -> list[int | str]:
    """A shape of so many rows along an axis for any number: N stands for it, or 2N where a row has two entries."""
    each = shape[axis] // rows
    return [*shape[:axis], "N" if each == 1 else f"{each}N", *shape[axis + 1 :]]


def check_rows(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int | None]], where: str) -> dict[str, int]:
    """Demands that no two rows meet, in the settled model of some number of rows.

    Returns:
        The axis of the rows in each output; there may be several entries of a row along it.

    Raises:
        UserError: two rows meet, or it is not known.
    """
    try:
        return _prove(model)
    except Mixed as mixed:
        options = " ".join(f"--shape {name}={'x'.join(str(n or 1) for n in shape)}" for name, shape in shapes.items())
        raise UserError(
            f"the number of rows of {', '.join(shapes)} is not fixed, and rows cannot be taken by themselves: {mixed}",
            where,
            f"fix it, for instance {options}",
        ) from mixed


def _prove(model: onnx.ModelProto) -> dict[str, int]:
    """Raises Mixed if two rows meet, or it is not known."""
    table = value_table(model.graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    walk = Walk(table, constants, {value.name: Rows(0) for value in model.graph.input})
    for node in model.graph.node:
        walk.follow(node)
    axes = {}
    for value in model.graph.output:
        rows = walk.of(value.name)
        if rows.axis is None or rows.groups > 1:
            raise Mixed(f"the output {value.name!r} has no rows along an axis")
        axes[value.name] = rows.axis
    return axes
