"""Recurrent layers as one kernel each: a loop over the steps inside of one program.

A task is one direction of a few rows of the batch, with a state of its own; threads share tasks. In each step it goes
over tiles of hidden units. For all gates of a tile at once the sums of state by weights stay in registers, and the
gates become the new state there. The weights stand as the loops read them: [direction, tile, state, gate, unit]. The
last tile begins early and overlaps the one before it, so that nothing needs filling up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, tirx
from tvm.script.ir_builder import tirx as T

from ..kernels.limits import Limits
from ..kernels.vectors import index, lanes_of, loop, store, vector
from ..operators.recurrent import GATES, RECURRENT, Activation, layer_of, options_of, result_shapes
from .constants import constant
from .legalize.by_hand import independent, program, serial
from .rewrite import rewrite_calls

_MAX_ROWS, _MAX_VECTORS = 8, 4


@dataclass(frozen=True)
class _Tile:
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


def lower_recurrent(module: tvm.IRModule, limits: Limits) -> tvm.IRModule:
    """Replaces the recurrent layers in `main` by calls of their programs."""

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        return _lower(builder, call, limits) if getattr(call.op, "name", "") == RECURRENT else call

    return rewrite_calls(module, visit)


def _lower(builder: relax.BlockBuilder, call: Any, limits: Limits) -> Any:
    layer, options = layer_of(call), options_of(call)
    hidden, batch = int(call.args[1].ty.shape[2]), int(call.args[0].ty.shape[1])
    # What GRU resets before its product is summed when the other gates are known.
    count = GATES[layer.kind]
    gates = [[0, 1], [2]] if layer.kind == "GRU" and not layer.after else [list(range(count))]
    tiles = [_tile(len(group), batch, hidden, limits) for group in gates]
    rows = min(tile.rows for tile in tiles)
    tiles = [_tile(len(group), rows, hidden, limits) for group in gates]
    weights = [_pack(builder, call.args[1], group, tile) for group, tile in zip(gates, tiles, strict=True)]
    shapes, dtype, tasks = result_shapes(call), str(call.ty.fields[0].dtype), -(-batch // rows) * len(layer.reverse)
    scratch = [[tasks, 2, rows, hidden]] * (2 if layer.kind == "LSTM" else 1)
    scratch += [[tasks, 2, rows, hidden]] * (len(gates) - 1)  # the update, and the state that is reset

    def compute(products: Any, *rest: Any) -> Any:
        def write(*buffers: Any) -> None:
            _Writer(call, tiles, gates, buffers).write()

        outputs = [*shapes, *scratch]
        return program([products, *rest], outputs, [dtype] * len(outputs), write, layer.kind.lower())

    arguments = [call.args[0], *weights, *options.values()]
    return builder.call_te(compute, *arguments, primfunc_name_hint=layer.kind.lower())


def _tile(gates: int, batch: int, hidden: int, limits: Limits) -> _Tile:
    """The largest that leaves registers for weights; the blocks of rows are as even as they can be."""
    sums = limits.registers - (8 if limits.registers >= 32 else 4)
    most = max(1, min(batch, sums // gates, _MAX_ROWS))
    rows = -(-batch // -(-batch // most))
    lanes = lanes_of(hidden, limits.lanes)
    vectors = max(1, min(sums // (gates * rows), hidden // lanes, _MAX_VECTORS))
    vectors = min(range(1, vectors + 1), key=lambda n: (-(-hidden // (n * lanes)) * n, -n))
    return _Tile(rows, vectors, lanes, hidden)


def _pack(builder: relax.BlockBuilder, weights: Any, gates: list[int], tile: _Tile) -> Any:
    """[direction, gate · unit, state] → [direction, tile, state, gate, unit]; in the model where it is no constant."""
    places = np.asarray(gates)[None, :, None] * tile.hidden + tile.units()[:, None, :]
    directions = int(weights.ty.shape[0])
    shape, axes = [directions, *places.shape, tile.hidden], [0, 1, 4, 2, 3]
    if isinstance(weights, ir.GenericConst):
        picked = weights.value.numpy()[:, places.ravel()].reshape(shape)
        return constant(np.ascontiguousarray(picked.transpose(axes)))
    picked = builder.emit(relax.op.take(weights, relax.const(places.ravel()), 1, "clip"))
    return builder.emit(relax.op.permute_dims(builder.emit(relax.op.reshape(picked, shape)), axes))


class _Writer:
    """Writes the program to the IR builder that is open.

    Args:
        buffers: the products, the weights of each group of gates, the options; then the results and the states.
    """

    def __init__(self, call: Any, tiles: Sequence[_Tile], gates: list[list[int]], buffers: Sequence[Any]) -> None:
        self.layer, self.tiles, self.gates = layer_of(call), tiles, gates
        self.steps, self.batch, self.columns = (int(size) for size in call.args[0].ty.shape)
        self.hidden, self.dtype = int(call.args[1].ty.shape[2]), str(call.ty.fields[0].dtype)
        self.products, *rest = buffers
        self.weights, rest = rest[: len(gates)], rest[len(gates) :]
        names = list(options_of(call))
        self.options, rest = dict(zip(names, rest, strict=False)), rest[len(names) :]
        self.sequence = rest.pop(0) if self.layer.sequence else None
        states = 2 if self.layer.kind == "LSTM" else 1
        self.finals, rest = rest[:states], rest[states:]
        self.states, rest = rest[:states], rest[states:]
        self.between = rest[0] if rest else None
        self.rows = tiles[0].rows

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
            with loop(tile.count) as place:
                begin = tile.begin(place)
                sums = T.alloc_buffer((tile.rows, len(self.gates[group]), tile.width), self.dtype, scope="local")
                self._sum(group, number, task, first, step, old, place, sums)
                for row in range(tile.rows):
                    for unit in range(0, tile.width, tile.lanes):
                        cell = _Cell(self, number, task, first + row, row, step, old, new, begin + unit, sums, unit)
                        cell.write(group, tile.lanes)

    def _sum(self, group: int, number: int, task: Any, first: Any, step: Any, old: Any, place: Any, sums: Any) -> None:
        """The products of this step, and the state by the weights."""
        tile, gates, weights = self.tiles[group], self.gates[group], self.weights[group]
        begin = tile.begin(place)
        parts = [(row, n, u) for row in range(tile.rows) for n in range(len(gates)) for u in range(tile.vectors)]
        for row, n, u in parts:
            with vector(tile.lanes) as lane:
                unit = begin + u * tile.lanes + lane
                if self.layer.after and gates[n] == 2:
                    value = self.options["bias"][number, unit] if "bias" in self.options else self._number(0)
                else:
                    value = self.product(number, first + row, step, gates[n], unit)
                store(sums, value, index(row), index(n), lane + u * tile.lanes)
        source: Callable[[int, Any], Any] = lambda row, k: self.states[0][task, old, row, k]  # noqa: E731
        if group == 1:
            source = lambda row, k: self.between[task, 1, row, k]  # noqa: E731
        with serial(self.hidden) as k:
            for row, n, u in parts:
                with vector(tile.lanes) as lane:
                    at = (index(row), index(n), lane + u * tile.lanes)
                    term = source(row, k) * weights[number, place, k, n, lane + u * tile.lanes]
                    store(sums, sums[at] + term, *at)

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


@dataclass(frozen=True)
class _Cell:
    """A vector of units of one row, whose sums become its new state."""

    of: _Writer
    number: int
    task: Any
    batch: Any
    row: int
    step: Any
    old: Any
    new: Any
    begin: Any
    sums: Any
    unit: int

    def write(self, group: int, lanes: int) -> None:
        layer = self.of.layer
        if layer.kind == "LSTM":
            self._lstm(lanes)
        elif layer.kind == "RNN":
            self._apply(0, 0, lanes)
            self._finish(lanes, lambda lane: self._sum(0, lane))
        elif layer.after:
            self._apply(0, 0, lanes)
            self._apply(1, 0, lanes)
            self._apply(2, 1, lanes, lambda x, lane: self._product(2, lane) + self._sum(1, lane) * x)
            self._finish(lanes, lambda lane: self._mixed(self._sum(0, lane), self._sum(2, lane), lane))
        elif group == 0:
            self._apply(0, 0, lanes)
            self._apply(1, 0, lanes)
            at = (self.task, self.row)
            with vector(lanes) as lane:
                store(self.of.between, self._sum(0, lane), at[0], 0, at[1], self.begin + lane)
            with vector(lanes) as lane:
                reset = self._sum(1, lane) * self._state(0, lane)
                store(self.of.between, reset, at[0], 1, at[1], self.begin + lane)
        else:
            self._apply(0, 1, lanes)
            update = self.of.between
            self._finish(
                lanes,
                lambda lane: self._mixed(update[self.task, 0, self.row, self.begin + lane], self._sum(0, lane), lane),
            )

    def _lstm(self, lanes: int) -> None:
        def peep(gate: int, state: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
            hole, column = self.of.options.get("peepholes"), gate * self.of.hidden
            if hole is None:
                return lambda x, _lane: x
            return lambda x, lane: x + hole[self.number, self.begin + column + lane] * state(lane)

        def cell(lane: Any) -> Any:
            return self._sum(2, lane) * self._state(1, lane) + self._sum(0, lane) * self._sum(3, lane)

        one = tirx.const(1.0, self.of.dtype)
        self._apply(0, 0, lanes, peep(0, lambda lane: self._state(1, lane)))
        self._apply(3, 1, lanes)
        if self.of.layer.coupled:
            with vector(lanes) as lane:
                store(self.sums, one - self._sum(0, lane), *self._at(2, lane))
        else:
            self._apply(2, 0, lanes, peep(2, lambda lane: self._state(1, lane)))
        with vector(lanes) as lane:
            store(self.sums, cell(lane), *self._at(3, lane))
        self._apply(1, 0, lanes, peep(1, lambda lane: self._sum(3, lane)))
        self._store_state(1, lanes, lambda lane: self._sum(3, lane))
        function = self.of.layer.activations[self.number][2]
        with vector(lanes) as lane:
            store(self.sums, _apply(function, self._sum(3, lane)), *self._at(0, lane))
        self._finish(lanes, lambda lane: self._sum(1, lane) * self._sum(0, lane))

    def _apply(self, gate: int, which: int, lanes: int, before: Callable[[Any, Any], Any] = lambda x, _lane: x) -> None:
        """Makes a gate of its sum: what `before` makes of it, clipped, through an activation."""
        with vector(lanes) as lane:
            store(self.sums, self._clipped(before(self._sum(gate, lane), lane)), *self._at(gate, lane))
        function = self.of.layer.activations[self.number][which]
        with vector(lanes) as lane:
            store(self.sums, _apply(function, self._sum(gate, lane)), *self._at(gate, lane))

    def _clipped(self, x: Any) -> Any:
        bound = tirx.const(self.of.layer.clip, self.of.dtype)
        return tirx.max(tirx.min(x, bound), -bound) if self.of.layer.clip > 0 else x

    def _mixed(self, update: Any, fresh: Any, lane: Any) -> Any:
        """GRU's new state."""
        return fresh + update * (self._state(0, lane) - fresh)

    def _finish(self, lanes: int, value: Callable[[Any], Any]) -> None:
        self._store_state(0, lanes, value)
        result = self.of.sequence
        if result is None:
            return
        going = self.of.going(self.batch, self.step)
        at = (self.of.position(self.number, self.batch, self.step), self.number, self.batch)
        with vector(lanes) as lane:
            x = value(lane)
            x = x if going is None else tirx.Select(going, x, tirx.const(0.0, self.of.dtype))
            store(result, x, *at, self.begin + lane)

    def _store_state(self, which: int, lanes: int, value: Callable[[Any], Any]) -> None:
        going = self.of.going(self.batch, self.step)
        with vector(lanes) as lane:
            x = value(lane) if going is None else tirx.Select(going, value(lane), self._state(which, lane))
            store(self.of.states[which], x, self.task, self.new, self.row, self.begin + lane)

    def _state(self, which: int, lane: Any) -> Any:
        return self.of.states[which][self.task, self.old, self.row, self.begin + lane]

    def _product(self, gate: int, lane: Any) -> Any:
        return self.of.product(self.number, self.batch, self.step, gate, self.begin + lane)

    def _sum(self, gate: int, lane: Any) -> Any:
        return self.sums[self._at(gate, lane)]

    def _at(self, gate: int, lane: Any) -> tuple[Any, ...]:
        return (index(self.row), index(gate), lane + self.unit)


def _apply(function: Activation, x: Any) -> Any:
    dtype = str(x.ty.dtype)
    zero, one = tirx.const(0.0, dtype), tirx.const(1.0, dtype)
    alpha, beta = tirx.const(function.alpha, dtype), tirx.const(function.beta, dtype)
    formulas: dict[str, Callable[[], Any]] = {
        "affine": lambda: alpha * x + beta,
        "elu": lambda: tirx.Select(x < zero, alpha * (tirx.exp(tirx.min(x, zero)) - one), x),
        "hardsigmoid": lambda: tirx.max(zero, tirx.min(one, alpha * x + beta)),
        "leakyrelu": lambda: tirx.Select(x < zero, alpha * x, x),
        "relu": lambda: tirx.max(x, zero),
        "scaledtanh": lambda: alpha * tirx.tanh(beta * x),
        "sigmoid": lambda: tirx.sigmoid(x),
        "softplus": lambda: tirx.max(x, zero) + tirx.log(one + tirx.exp(zero - tirx.abs(x))),
        "softsign": lambda: x / (one + tirx.abs(x)),
        "tanh": lambda: tirx.tanh(x),
        "thresholdedrelu": lambda: tirx.Select(x > alpha, x, zero),
    }
    return formulas[function.name]()
