"""The state of a recurrent layer in 8 bits, by weights of 8 bits, with sums of 32.

Each step rounds each row of the state to 255 parts of its range, as DynamicQuantizeLinear does, so that nothing has to
be known of it before. What its zero point adds to the sums is a constant of each column, as in integer_products.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..kernels.dots import dot, word
from ..kernels.limits import Limits
from ..kernels.vectors import index, loop, store, vector
from ..kernels.weight_limit import WORD
from ..operators.by_hand import serial
from ..operators.dynamic_range import STEPS, bounds_around_zero, fold_bounds, store_range, widen_bounds
from .constants import constant

if TYPE_CHECKING:
    from .recurrent_program import Tile, Writer

# Multiplications of a step: of so few, rounding the state takes what their product gains; and where dot products are
# of pairs, as with AVX2, which gain less before the weights leave the caches.
_MOST_IN_FLOAT, _MOST_BESIDE_PAIRS = 1 << 12, 1 << 15


def pays(gates: int, hidden: int, limits: Limits) -> bool:
    """Whether rounding the state and a product of integers take less than a product of floats."""
    most = _MOST_IN_FLOAT if limits.dots else _MOST_BESIDE_PAIRS
    return (limits.dots or limits.multiplies_pairs) and gates * hidden * hidden > most


def narrow_shape(rows: int, hidden: int) -> list[int]:
    """Of the states of 8 bits of a task: whole words."""
    return [rows, -(-hidden // WORD) * WORD]


def pack_narrow(weights: Any, scale: Any, gates: list[int], tile: Tile) -> tuple[Any, ...]:
    """Weights int8 [direction, gate · unit, state] → [direction, tile, word of states, gate, unit, state]; their sums
    int32 and their scales float32, [direction, tile, gate, unit]."""
    places = np.asarray(gates)[None, :, None] * tile.hidden + tile.units()[:, None, :]
    values, scales = weights.value.numpy(), scale.value.numpy()
    picked = np.pad(values, [(0, 0), (0, 0), (0, -tile.hidden % WORD)])[:, places]
    words = picked.reshape(*picked.shape[:-1], -1, WORD).transpose(0, 1, 4, 2, 3, 5)
    sums = picked.sum(axis=-1, dtype=np.int32)
    return tuple(constant(np.ascontiguousarray(table)) for table in (words, sums, scales[:, places]))


class Integers:
    """Writes both into the program of a layer.

    Args:
        of: the program's writer.
        tables: sums of the weights of each group of gates, and then their scales.
        state: gets the state of 8 bits, [task, row, unit].
        kind: its type.
    """

    def __init__(self, of: Writer, tables: Sequence[Any], state: Any, kind: str) -> None:
        self._of, self._state, self._kind = of, state, kind
        self._sums, self._scales = tables[: len(of.gates)], tables[len(of.gates) :]

    def quantise(self, group: int, task: Any, old: Any) -> None:
        """Rounds the state that a group of gates multiplies."""
        of, tile = self._of, self._of.tiles[group]
        state, which = of.source(group, old)
        count = -(-of.hidden // tile.lanes)
        lowest = 0 if self._kind == "uint8" else -(STEPS + 1) // 2
        self._step = T.alloc_buffer((of.rows,), "float32", scope="local")
        self._zero = T.alloc_buffer((of.rows,), "int32", scope="local")

        def begin(place: Any) -> Any:
            return tirx.min(place * tile.lanes, index(of.hidden - tile.lanes)) if count > 1 else index(0)

        for row in range(of.rows):
            bounds = bounds_around_zero(tile.lanes)
            with loop(count) as place, vector(tile.lanes) as lane:
                widen_bounds(bounds, state[task, which, row, begin(place) + lane], lane)
            fold_bounds(bounds, tile.lanes)
            store_range(bounds[0][0], bounds[1][0], self._step, self._zero, lowest, index(row))
            parts, shift = T.alloc_buffer((1,), "float32", scope="local"), self._zero[row].astype("float32")
            store(parts, _float(1) / self._step[row], index(0))
            with loop(count) as place, vector(tile.lanes) as lane:
                at = begin(place) + lane
                whole = tirx.nearbyint(state[task, which, row, at] * parts[0]) + shift
                whole = tirx.max(tirx.min(whole, _float(lowest + STEPS)), _float(lowest))
                store(self._state, whole.astype(self._kind), task, index(row), at)

    def sum(
        self, group: int, number: int, task: Any, place: Any, parts: Sequence[tuple[int, int, int]]
    ) -> Callable[[int, int, Any], Any]:
        """Writes the sums of a tile; returns what they add to a gate's, by row, gate of the group and unit."""
        of, tile, weights = self._of, self._of.tiles[group], self._of.weights[group]
        sums = T.alloc_buffer((tile.rows, len(of.gates[group]), tile.width), "int32", scope="local")
        for row, n, u in parts:
            with vector(tile.lanes) as lane:
                store(sums, tirx.const(0, "int32"), index(row), index(n), lane + u * tile.lanes)
        with serial(-(-of.hidden // WORD)) as k:
            for row, n, u in parts:
                with vector(tile.lanes) as lane:
                    unit = lane + u * tile.lanes
                    at = (index(row), index(n), unit)
                    data = word([self._state[task, row, k * WORD + i] for i in range(WORD)])
                    term = dot(data, word([weights[number, place, k, n, unit, i] for i in range(WORD)]), self._kind)
                    store(sums, sums[at] + term, *at)

        def added(row: int, n: int, unit: Any) -> Any:
            table = (number, place, n, unit)
            exact = sums[index(row), index(n), unit] - self._zero[row] * self._sums[group][table]
            return exact.astype("float32") * (self._step[row] * self._scales[group][table])

        return added


def _float(value: float) -> Any:
    return tirx.const(float(value), "float32")
