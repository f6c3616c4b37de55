"""Programs that run along rows, as softmax and the normalisations do: all stages of a row while it is in cache.

A stage makes a row of another (exponentials, results), sums a row up (sum, maximum), or makes one number of
such sums (a mean). Stages that do not need each other's sums share one pass over the row. Softmax takes three
passes (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, arXiv:1805.02867, section 2),
a layer normalisation too: its variance as a difference of two sums would lose digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import tvm_ffi
from tvm import ir, s_tir, tirx

from .analysis import uses
from .limits import Limits
from .lowering import nodes_of
from .rule import Offer, Parameters
from .stages import Stage, aligned, extents_of, is_load, stage_of
from .style import TASKS
from .vector_math import exp_of_nonpositive
from .vectors import fold, index, install, lanes_of, local, loop, program, rewrite, store, unravel, vector

_ROWS = 8  # most at a time: where one waits for its sum to be joined, or for a root, others are at work
_VECTORS = 2  # partial sums at a time of one that is not among so many, which hide the latency of additions
_SHORT = 9  # elements; of rows below that, or below a vector, LLVM takes several at a time
_TRANSCENDENTAL = ("exp", "tanh", "erf", "log", "sigmoid", "pow", "sin", "cos")

# Where a stage's results are: a buffer, and the indices before that of the position in the row.
Place = tuple[Any, list[Any]]


@dataclass(frozen=True)
class Row:
    """A row: its position, and by buffer of the program where its elements, or its one number, are kept."""

    at: Sequence[Any]
    places: Mapping[Any, Place]


def rows_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs whose blocks all run over the same rows, contiguous in memory, with a sum along them in float32.

    A dequantisation before and a quantisation behind belong to the rows.
    """
    summed = next((block for block in _blocks(sch) if block.init is not None), None)
    extents = None if summed is None else extents_of(summed)
    if extents is None or 0 in extents or extents[-1] < min(limits.lanes, _SHORT):
        return None
    shapes = (extents, (*extents[:-2], extents[-1]))  # the second one where a sum keeps its axis
    _inline(sch, shapes)
    blocks = _blocks(sch)
    for shape in shapes:
        stages = [stage for block in blocks if (stage := stage_of(block, shape)) is not None]
        if len(stages) == len(blocks) and aligned(stages):
            return _offer(sch, stages, shape, limits)
    return None


def _blocks(sch: Any) -> list[Any]:
    return [sch.get(rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]


def _offer(sch: Any, stages: Sequence[Stage], shape: tuple[int, ...], limits: Limits) -> Offer:
    func = sch.mod["main"]
    results = [s for s in stages if any(s.buffer.same_as(param) for param in func.params)]
    parallel = math.prod(shape) * len(stages) >= limits.parallel_work
    count = math.prod(shape[:-1])

    def write(numbers: Sequence[Any], vectors: int) -> None:
        rows = []
        for number in numbers:
            at = unravel(number, shape[:-1])
            places = {
                s.buffer: (s.buffer, at) if s.kind == "row" and s in results else (_own(s, shape), []) for s in stages
            }
            rows.append(Row(at, places))
        write_rows(stages, shape[-1], rows, limits, vectors)
        for stage, row in product(results, rows):
            if stage.kind != "row":
                kept = len(stage.buffer.ty.shape) - len(row.at)
                store(stage.buffer, row.places[stage.buffer][0][index(0)], *row.at, *[index(0)] * kept)

    def write_all(most: int, vectors: int) -> None:
        groups = -(-count // most)
        together = -(-count // groups)
        with loop(groups, parallel) as group:
            # The last group overlaps the one before it.
            first = tirx.Min(group * together, index(count - together)) if count % together else group * together
            write([first + number for number in range(together)], vectors)

    def apply(chosen: Parameters) -> None:
        install(sch, program(func, lambda: write_all(chosen["rows"], chosen["vectors"])))

    most = min(_ROWS, limits.l1 // (8 * shape[-1]), count // TASKS if parallel else count)
    rows = 1 << max(0, most.bit_length() - 1)
    default = {"rows": rows, "vectors": 1 if rows == _ROWS else _VECTORS}
    return Offer(apply, default, {"rows": (1, 2, 4, 8), "vectors": (1, 2, 4, 8)})


def _own(stage: Stage, shape: tuple[int, ...]) -> Any:
    """A buffer for what a stage makes of one row."""
    return local(shape[-1] if stage.kind == "row" else 1, dtype=str(stage.buffer.dtype))


def _inline(sch: Any, shapes: Sequence[tuple[int, ...]]) -> None:
    """Inlines what makes rows with simple arithmetic; numbers stay, which would be computed for each element."""
    for rv in sch.get_child_blocks(sch.get_sblock("root")):
        block = sch.get(rv)
        if block.init is None and extents_of(block) in shapes and not _transcendental(block.body):
            try:
                sch.compute_inline(rv)
            except s_tir.ScheduleError:
                continue  # it writes a result


def _transcendental(node: Any) -> bool:
    names = (str(getattr(call.op, "name", "")) for call in nodes_of(node, ir.Call))
    return any(name.removeprefix("tirx.") in _TRANSCENDENTAL for name in names)


def write_rows(
    stages: Sequence[Stage], size: int, rows: Sequence[Row], limits: Limits, vectors: int = _VECTORS
) -> None:
    """Writes the passes over some rows, which take each pass together.

    Args:
        size: elements of a row.
        vectors: of each row at a time.
    """
    writer = _RowWriter(stages, size, rows, limits, vectors)
    together: list[Stage] = []
    for stage in stages:
        if stage.kind == "number" or any(other.kind == "sum" and stage.uses(other) for other in together):
            writer.write_pass(together)
            together = []
        if stage.kind == "number":
            for row in rows:
                writer.keep(stage, writer.value(stage, index(0), row), row)
        else:
            together.append(stage)
    writer.write_pass(together)


class _RowWriter:
    def __init__(self, stages: Sequence[Stage], size: int, rows: Sequence[Row], limits: Limits, vectors: int) -> None:
        self.stages, self.size, self.rows = stages, size, rows
        self.lanes = lanes_of(size, limits.lanes)
        self.vectors = max(1, min(vectors, size // self.lanes))

    def write_pass(self, stages: Sequence[Stage]) -> None:
        """One pass over the rows: whole vectors, several at a time, then the rest."""
        if not stages:
            return
        lanes, vectors = self.lanes, self.vectors
        summed = [stage for stage in stages if stage.combine is not None]
        sums = [{stage.buffer: local(vectors * lanes) for stage in summed} for _ in self.rows]
        for stage, number, own in product(summed, range(vectors), sums):
            with vector(lanes) as lane:
                store(own[stage.buffer], stage.start, lane + number * lanes)
        whole = self.size // lanes
        with loop(whole // vectors) as step:
            for number in range(vectors):
                self._vectors(stages, sums, number, (step * vectors + number) * lanes, 0)
        for number in range(whole % vectors):
            self._vectors(stages, sums, number, index((whole - whole % vectors + number) * lanes), 0)
        if self.size % lanes:
            self._vectors(stages, sums, 0, index(self.size - lanes), lanes - self.size % lanes)
        for stage in summed:
            for row, own in zip(self.rows, sums, strict=True):
                self._join(stage, own[stage.buffer], row)

    def _vectors(
        self, stages: Sequence[Stage], sums: Sequence[dict[Any, Any]], number: int, begin: Any, repeated: int
    ) -> None:
        """The stages at one vector of each row, whose first lanes may repeat those of the one before it."""
        for (row, own), stage in product(zip(self.rows, sums, strict=True), stages):
            with vector(self.lanes) as lane:
                value = self.value(stage, begin + lane, row)
                if stage.combine is None:
                    memory, before = row.places[stage.buffer]
                    store(memory, value, *before, begin + lane)
                    continue
                place = lane + number * self.lanes
                partial = own[stage.buffer][place]
                joined = stage.combine(partial, value)
                if repeated and stage.combine is tirx.Add:
                    joined = tirx.Select(lane >= index(repeated), joined, partial)
                store(own[stage.buffer], joined, place)

    def _join(self, stage: Stage, partial: Any, row: Row) -> None:
        assert stage.combine is not None
        for number in range(1, self.vectors):
            with vector(self.lanes) as lane:
                store(partial, stage.combine(partial[lane], partial[lane + number * self.lanes]), lane)
        fold(partial, self.lanes, stage.combine)
        self.keep(stage, partial[index(0)], row)

    def keep(self, stage: Stage, number: Any, row: Row) -> None:
        memory, before = row.places[stage.buffer]
        store(memory, number, *before, index(0))

    def value(self, stage: Stage, position: Any, row: Row) -> Any:
        """The value or term of a stage, with what other stages left in their places."""
        changes = [(ir.Call, self._exponential), (tirx.Div, lambda division: _by_reciprocal(division, stage.axis))]
        values = dict(zip(stage.rows, row.at, strict=True))
        values |= {var: at for var, at in ((stage.axis, position), (stage.kept, index(0))) if var is not None}
        kinds = {s.buffer: s.kind for s in self.stages}

        def instead(buffer: Any) -> Callable[[list[Any]], Any]:
            memory, before = row.places[buffer]
            number = kinds.get(buffer, "row") != "row"

            def load(indices: list[Any]) -> Any:
                at = (*before, index(0) if number else indices[-1])
                return memory[at]

            return load

        return rewrite(
            tvm_ffi.structural_map(stage.value, changes), values, {buffer: instead(buffer) for buffer in row.places}
        )

    def _exponential(self, call: Any) -> Any:
        """exp(x - max) without the cases that only larger arguments have."""
        if getattr(call.op, "name", "") != "tirx.exp" or not isinstance(call.args[0], tirx.Sub):
            return call
        tops = [s.buffer for s in self.stages if s.combine is tirx.Max]
        below = any(is_load(call.args[0].b, buffer) for buffer in tops)
        return exp_of_nonpositive(call.args[0]) if below else call


def _by_reciprocal(division: Any, axis: Any) -> Any:
    """Of a row by a number: the division once, a multiplication for each element."""
    if axis is None or uses(division.b, axis) or not uses(division.a, axis):
        return division
    return division.a * tirx.Div(tirx.const(1.0, str(division.b.ty.dtype)), division.b)
