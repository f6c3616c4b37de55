"""The program of a recurrent layer: a loop over the steps.

A task is one direction of a few rows of the batch, with a state of its own; threads share tasks. In each step it goes
over tiles of hidden units. For all gates of a tile at once the sums of state by weights stay in registers, and the
gates become the new state there. The last tile begins early and overlaps the one before it, so that nothing needs
filling up; the state has two places for that, of which each step reads one and writes the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..kernels.vectors import index, loop, store, vector
from ..operators.by_hand import independent, serial
from ..operators.recurrent import GATES, layer_of
from .recurrent_cell import Cell
from .recurrent_integers import Integers


@dataclass(frozen=True)
class Tile:
    """Sums that are kept in registers: `rows` of the batch by `vectors` of `lanes` units of each gate."""

    rows: int
    vectors: int
    lanes: int
    hidden: int

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def count(self) -> int:
        return -(-self.hidden // self.width)

    def begin(self, number: Any) -> Any:
        return tirx.min(number * self.width, index(self.hidden - self.width)) if self.count > 1 else index(0)

    def units(self) -> np.ndarray[Any, Any]:
        """The hidden unit of each place, [tile, unit]."""
        begins = np.minimum(np.arange(self.count) * self.width, self.hidden - self.width)
        return begins[:, None] + np.arange(self.width)


class Writer:
    """Writes the program to the IR builder that is open.

    Args:
        buffers: the products; the weights of each group of gates, those of 8 bits with their tables; the options; then
            the results and the states, and those of 8 bits.
        names: of the options.
        narrow: the type of a state of 8 bits; empty for floats.
    """

    def __init__(
        self,
        call: Any,
        tiles: Sequence[Tile],
        gates: list[list[int]],
        buffers: Sequence[Any],
        names: list[str],
        narrow: str = "",
    ) -> None:
        self.layer, self.tiles, self.gates = layer_of(call), tiles, gates
        self.steps, self.batch, self.columns = (int(size) for size in call.args[0].ty.shape)
        self.hidden, self.dtype = int(call.args[1].ty.shape[2]), str(call.ty.fields[0].dtype)
        self.products, *rest = buffers
        self.weights, rest = rest[: len(gates)], rest[len(gates) :]
        tables, rest = (rest[: 2 * len(gates)], rest[2 * len(gates) :]) if narrow else ([], rest)
        self.options, rest = dict(zip(names, rest, strict=False)), rest[len(names) :]
        self.sequence = rest.pop(0) if self.layer.sequence else None
        states = 2 if self.layer.kind == "LSTM" else 1
        self.finals, rest = rest[:states], rest[states:]
        self.states, rest = rest[:states], rest[states:]
        self.rows = tiles[0].rows
        self.integers = Integers(self, tables, rest.pop(), narrow) if narrow else None
        self.between: Any = rest[0] if rest else None

    def write(self) -> None:
        blocks, directions = -(-self.batch // self.rows), len(self.layer.reverse)
        work = self.steps * blocks * self.rows * self.columns * self.hidden
        with independent(blocks * directions, work) as task:
            block = tirx.floormod(task, index(blocks))
            # The last rows may be those of the block before too.
            first = tirx.min(block * self.rows, index(self.batch - self.rows)) if blocks > 1 else index(0)
            if directions == 1:
                self._direction(0, task, first)
                return
            with T.If(task < blocks):
                with T.Then():
                    self._direction(0, task, first)
                with T.Else():
                    self._direction(1, task, first)

    def _direction(self, number: int, task: Any, first: Any) -> None:
        for state, name in zip(self.states, ("hidden", "cell"), strict=False):
            with serial(self.rows) as row, serial(self.hidden) as unit:
                start = self.options[name][number, first + row, unit] if name in self.options else self._number(0)
                store(state, start, task, 0, row, unit)
        with serial(self.steps) as step:
            self._step(number, task, first, step)
        last = self.steps % 2
        for state, final in zip(self.states, self.finals, strict=True):
            with serial(self.rows) as row, serial(self.hidden) as unit:
                store(final, state[task, last, row, unit], number, first + row, unit)

    def _step(self, number: int, task: Any, first: Any, step: Any) -> None:
        old = tirx.floormod(step, index(2))
        new = index(1) - old
        for group, tile in enumerate(self.tiles):
            if self.integers:
                self.integers.quantise(group, task, old)
            with loop(tile.count) as place:
                begin = tile.begin(place)
                sums = T.alloc_buffer((tile.rows, len(self.gates[group]), tile.width), self.dtype, scope="local")
                self._sum(group, number, task, first, step, old, place, sums)
                for row in range(tile.rows):
                    for unit in range(0, tile.width, tile.lanes):
                        cell = Cell(self, number, task, first + row, row, step, old, new, begin + unit, sums, unit)
                        cell.write(group, tile.lanes)

    def _sum(self, group: int, number: int, task: Any, first: Any, step: Any, old: Any, place: Any, sums: Any) -> None:
        """The products of this step, and the state by the weights."""
        tile, gates, weights = self.tiles[group], self.gates[group], self.weights[group]
        begin = tile.begin(place)
        parts = [(row, n, u) for row in range(tile.rows) for n in range(len(gates)) for u in range(tile.vectors)]
        added = self.integers.sum(group, number, task, place, parts) if self.integers else None
        for row, n, u in parts:
            with vector(tile.lanes) as lane:
                unit = begin + u * tile.lanes + lane
                if self.layer.after and gates[n] == 2:
                    value = self.options["bias"][number, unit] if "bias" in self.options else self._number(0)
                else:
                    value = self.product(number, first + row, step, gates[n], unit)
                at = (index(row), index(n), lane + u * tile.lanes)
                store(sums, value + added(row, n, at[-1]) if added else value, *at)
        if self.integers:
            return
        state, which = self.source(group, old)
        with serial(self.hidden) as k:
            for row, n, u in parts:
                with vector(tile.lanes) as lane:
                    at = (index(row), index(n), lane + u * tile.lanes)
                    term = state[task, which, row, k] * weights[number, place, k, n, lane + u * tile.lanes]
                    store(sums, sums[at] + term, *at)

    def source(self, group: int, old: Any) -> tuple[Any, Any]:
        """The states that a group of gates multiplies, and the place there."""
        return (self.between, index(1)) if group else (self.states[0], old)

    def product(self, number: int, row: Any, step: Any, gate: int, unit: Any) -> Any:
        column = (number * GATES[self.layer.kind] + gate) * self.hidden
        return self.products[self.position(number, row, step), row, unit + column]

    def position(self, number: int, row: Any, step: Any) -> Any:
        """The step of the inputs and results; beyond the row's length both directions go forward."""
        if not self.layer.reverse[number]:
            return step
        if "lengths" not in self.options:
            return index(self.steps - 1) - step
        length = self._length(row)
        return tirx.Select(step < length, length - index(1) - step, step)

    def going(self, row: Any, step: Any) -> Any:
        """Whether the row has this step; None if all have."""
        return step < self._length(row) if "lengths" in self.options else None

    def _length(self, row: Any) -> Any:
        given = self.options["lengths"][row].astype("int64")
        return tirx.max(tirx.min(given, index(self.steps)), index(0))

    def _number(self, value: float) -> Any:
        return tirx.const(value, self.dtype)
