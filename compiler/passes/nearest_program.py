"""The program that finds the nearest points: panel by panel, a group of rows has its distances to some points, and
what is nearer than the nearest so far is kept.

A panel's distances are computed in register tiles as those of packed products, and stay in the caches until they are
looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..kernels.areas import rows_of_tile
from ..kernels.limits import Limits
from ..kernels.packed import block_width
from ..operators.by_hand import independent, program, serial, whole
from ..operators.distances import distance_term
from .legalize.select import BLOCK, Best, list_size

_ROWS = 64  # of a group, about; they read a panel together
_MOST_POINTS = 1024  # of a panel


def limits_for(dtype: str, limits: Limits) -> Limits:
    """`limits` have float32 lanes; those of this type."""
    return replace(limits, lanes=max(1, limits.lanes // 2)) if dtype == "float64" else limits


def least_points(limits: Limits) -> int:
    """How many there have to be: one block of a panel, and of the kernel."""
    return max(BLOCK, 2 * limits.lanes)


@dataclass(frozen=True)
class Nearest:
    """How the work is cut.

    Attributes:
        rows, features, points, count: of the problem; `count` points of each row are wanted.
        dtype: float32 or float64.
        power: of the differences that are summed.
        root: whether the distances are roots of the sums.
        width: points of a packed block.
        lanes: of a vector.
        tile: rows of a register tile.
        group: rows that go through the panels together, a multiple of `tile`; the last group overlaps the one before.
        panel: points, a multiple of `width` and of BLOCK.
    """

    rows: int
    features: int
    points: int
    count: int
    dtype: str
    power: int
    root: bool
    width: int
    lanes: int
    tile: int
    group: int
    panel: int

    @staticmethod
    def plan(
        shape: Sequence[int], points: int, count: int, dtype: str, power: int, root: bool, limits: Limits
    ) -> Nearest:
        """`limits` are those for `dtype`."""
        rows, features = shape
        width = block_width(points, limits)
        groups = -(-rows // _ROWS)
        groups += groups % 2 if rows > 1 else 0  # for two threads, at least
        tile = rows_of_tile(-(-rows // groups), width, limits)
        group = min(-(-rows // groups // tile) * tile, rows // tile * tile)
        step = max(BLOCK, width)
        fitting = min(limits.l2 // 4 // (_bytes(dtype) * features), _MOST_POINTS)
        panel = max(step, fitting // step * step)
        lanes = min(width, limits.lanes)
        return Nearest(rows, features, points, count, dtype, power, root, width, lanes, tile, group, panel)

    @property
    def groups(self) -> int:
        return -(-self.rows // self.group)

    @property
    def keys(self) -> str:
        """Distances are not negative: their bits are in their order, and those of NaN are above."""
        return f"uint{8 * _bytes(self.dtype)}"

    def program(self, data: Any, packed: Any) -> Any:
        """(values [rows, count], places int32 [rows, count]) and what the program works with."""
        lists = [self.groups, self.group]
        shapes = [[self.rows, self.count]] * 2
        shapes += [[*lists, self.panel], *[[*lists, list_size(self.count)]] * 2, [*lists, 1], [*lists, 1]]
        dtypes = [self.dtype, "int32", self.dtype, self.keys, "int32", self.keys, "int64"]
        return program([data, packed], shapes, dtypes, self._write, "nearest")

    def _write(
        self,
        data: Any,
        packed: Any,
        values: Any,
        places: Any,
        panel: Any,
        keys: Any,
        found: Any,
        limit: Any,
        filled: Any,
    ) -> None:
        with independent(self.groups, self.rows * self.points * self.features) as group:
            first = tirx.min(group * whole(self.group), whole(self.rows - self.group))
            with serial(-(-self.points // self.panel)) as number:
                begin = number * whole(self.panel)
                size = tirx.min(whole(self.points) - begin, whole(self.panel))
                blocks = tirx.floordiv(size + whole(self.width - 1), whole(self.width))
                with serial(self.group // self.tile) as tile, serial(blocks) as block:
                    row = tile * whole(self.tile)
                    at = tirx.floordiv(begin, whole(self.width)) + block
                    sums = self._sums(data, packed, first + row, at)
                    self._keep(sums, panel, group, row, block)
                with serial(self.group) as row:
                    best = Best(
                        self.count, self.keys, keys, found, limit, filled, (group, row), self._final, self._highest
                    )

                    def key(i: Any, row: Any = row) -> Any:
                        return self._bits(panel[group, row, i])

                    with T.If(number == whole(0)), T.Then():
                        best.bound(key, min(self.points, self.panel))
                    best.scan(key, size, begin)
            with serial(self.group) as row, serial(self.count) as i:
                T.buffer_store(values, tirx.reinterpret(self.dtype, keys[group, row, i + whole(1)]), [first + row, i])
                T.buffer_store(places, found[group, row, i + whole(1)], [first + row, i])

    def _final(self, key: Any) -> Any:
        return self._bits(tirx.sqrt(tirx.reinterpret(self.dtype, key))) if self.root else key

    def _highest(self, value: Any) -> Any:
        """Half a unit in the last place of a root is one of its square, beside the rounding of the square here."""
        if not self.root:
            return value
        root = tirx.reinterpret(self.dtype, value)
        return self._bits(root * root) + tirx.const(3, self.keys)

    def _sums(self, data: Any, packed: Any, row: Any, block: Any) -> Any:
        """[tile, width] in registers."""
        sums = T.alloc_buffer((self.tile * self.width,), self.dtype, scope="local")
        vectors = [(r, v) for r in range(self.tile) for v in range(0, self.width, self.lanes)]
        for r, v in vectors:
            with T.vectorized(self.lanes) as lane:
                T.buffer_store(sums, tirx.const(0, self.dtype), [r * self.width + v + lane])
        with serial(self.features) as k:
            for r, v in vectors:
                with T.vectorized(self.lanes) as lane:
                    i = r * self.width + v + lane
                    point = packed[block, k, whole(v) + lane.astype("int64")]
                    term = distance_term(point, data[row + whole(r), k], self.power)
                    T.buffer_store(sums, sums[i] + term, [i])
        return sums

    def _keep(self, sums: Any, panel: Any, group: Any, row: Any, block: Any) -> None:
        for r in range(self.tile):
            for v in range(0, self.width, self.lanes):
                with T.vectorized(self.lanes) as lane:
                    place = block * whole(self.width) + whole(v) + lane.astype("int64")
                    T.buffer_store(panel, sums[r * self.width + v + lane], [group, row + whole(r), place])

    def _bits(self, value: Any) -> Any:
        return tirx.reinterpret(self.keys, value)


def _bytes(dtype: str) -> int:
    return np.dtype(dtype).itemsize
