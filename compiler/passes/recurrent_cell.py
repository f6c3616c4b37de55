"""From the sums of a recurrent layer's gates to its new state, a vector of units at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx

from ..kernels.vectors import index, store, vector
from ..operators.recurrent import Activation

if TYPE_CHECKING:
    from .recurrent_program import Writer


@dataclass(frozen=True)
class Cell:
    """A vector of units of one row, whose sums become its new state."""

    of: Writer
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
