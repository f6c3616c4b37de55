"""Programs that run along rows, as stages: what one block makes of a row, and of what others made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import ir, tirx

from .accesses import reads
from .lowering import nodes_of

_COMBINERS = (tirx.Add, tirx.Max, tirx.Min)
_ROWS = ("float32", "int8", "uint8")  # what rows may be of; sums and numbers are of float32


@dataclass(frozen=True)
class Stage:
    """A block of the program.

    Attributes:
        kind: `row` makes a row, `sum` one number of a row, `number` one of other numbers.
        buffer: what it writes.
        value: what it stores; of a sum, the term.
        rows: variables of the row's position, the outermost first.
        axis: variable of the position in the row; None for a number.
        kept: variable of an axis of size 1 that a number has in place of the row; None if it has none.
        combine: of a sum: what joins a partial one and a term, or two partial ones.
        start: of a sum: its value before the first term.
    """

    kind: str
    buffer: Any
    value: Any
    rows: tuple[Any, ...]
    axis: Any = None
    kept: Any = None
    combine: Callable[[Any, Any], Any] | None = None
    start: Any = None

    def uses(self, other: Stage) -> bool:
        return any(access.buffer.same_as(other.buffer) for access in reads(self.value))


def extents_of(block: Any) -> tuple[int, ...] | None:
    extents = [axis.dom.extent for axis in block.iter_vars]
    return tuple(int(e) for e in extents) if all(isinstance(e, tirx.IntImm) for e in extents) else None


def stage_of(block: Any, shape: tuple[int, ...]) -> Stage | None:
    """The block as a stage over rows of `shape[-1]`; None if it is no such thing."""
    body, extents = block.body, extents_of(block)
    if extents is None or not isinstance(body, tirx.BufferStore) or (dtype := str(body.value.ty.dtype)) not in _ROWS:
        return None
    own = [axis.var for axis in block.iter_vars if axis.iter_type == tirx.IterVar.DataPar]
    reduced = [axis.var for axis in block.iter_vars if axis.iter_type == tirx.IterVar.CommReduce]
    if len(own) != len(body.indices) or not all(i.same_as(v) for i, v in zip(body.indices, own, strict=True)):
        return None
    rows, size = tuple(own[: len(shape) - 1]), extents[: len(own)]
    if size == shape and not reduced:
        return Stage("row", body.buffer, body.value, rows, own[-1])
    if size not in (shape[:-1], (*shape[:-1], 1)) or dtype != "float32":
        return None
    kept = own[-1] if len(own) == len(shape) else None
    if not reduced:
        return Stage("number", body.buffer, body.value, rows, kept=kept)
    term = term_of(block) if len(reduced) == 1 and extents[len(own) :] == shape[-1:] else None
    return term and Stage("sum", body.buffer, term[0], rows, reduced[0], kept, *term[1:])


def term_of(block: Any) -> tuple[Any, Callable[[Any, Any], Any], Any] | None:
    """(what is summed, how, from where) of a block with a reduction; None if it is no plain sum."""
    value, start = block.body.value, block.init.value
    kind = next((k for k in _COMBINERS if isinstance(value, k)), None)
    if kind is None:
        return None
    terms = [s for s in (value.a, value.b) if not is_load(s, block.body.buffer)]
    if len(terms) != 1:
        return None
    if kind is not tirx.Add:  # TVM begins with the largest finite number
        start = tirx.FloatImm("float32", math.copysign(math.inf, start.value))
    return terms[0], kind, start


def is_load(node: Any, buffer: Any) -> bool:
    return isinstance(node, ir.TensorLoad) and bool(node.source.same_as(buffer))


def aligned(stages: Sequence[Stage]) -> bool:
    """Whether stages read each other at their own row and position, and everything else in whole vectors."""
    for stage in stages:
        for load in nodes_of(stage.value, ir.TensorLoad):
            source = next((s for s in stages if s.buffer.same_as(load.source)), None)
            if source is None:
                continue
            expected = [*stage.rows, *([stage.axis] if source.kind == "row" else [])]
            if None in expected or not all(i.same_as(v) for i, v in zip(load.indices, expected, strict=False)):
                return False
        if stage.axis is not None and any(access.step(stage.axis) not in (0, 1) for access in reads(stage.value)):
            return False
    return True
