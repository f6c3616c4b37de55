"""The program of a forest: several walks at a time, each a chain of loads that a processor would wait for alone.

With many rows, a task takes the rows of a block through one tree after another, so that the tree stays in the
first-level cache; the walks that go together are those of neighbouring rows. With few, the walks of one row through
neighbouring trees go together. There are no branches on data; walks that end early stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ..frontend.forest import LEAF_BITS
from ..kernels.vectors import index, store, vector
from ..operators.by_hand import independent, serial

_BITS = {"float32": "uint32", "float64": "uint64"}
_STEPS = 3  # between two looks whether all walks have ended


@dataclass(frozen=True)
class Shape:
    """What a forest's program is made for.

    Attributes:
        block: rows of a task, a multiple of `walks`.
        walks: that go together.
        lanes: of vectors of columns.
        mixed, feature_bits, shallow, aggregate: see operators/forest.py.
    """

    rows: int
    trees: int
    features: int
    columns: int
    block: int
    walks: int
    lanes: int
    feature_bits: int
    mixed: bool
    shallow: bool
    aggregate: str


class Writer:
    """Writes the program to the IR builder that is open.

    Args:
        buffers: the data, the tables, the result.
    """

    def __init__(self, shape: Shape, buffers: Sequence[Any], work: int) -> None:
        self.shape, self.work = shape, work
        self.data, *tables, self.roots, self.leaves, self.result = buffers
        self.words = tables[0]
        self.thresholds: Any = tables[1] if len(tables) > 1 else None
        self.floats, self.word = str(self.data.dtype), str(self.words.dtype)
        self.bits = _BITS[self.floats]
        self.dtype = str(self.result.dtype)

    def write(self) -> None:
        if self.shape.rows < self.shape.walks:
            self._few_rows()
        else:
            self._many_rows()

    def _many_rows(self) -> None:
        shape = self.shape
        groups, each = -(-shape.rows // shape.walks), shape.block // shape.walks
        tasks = -(-groups // each)
        with independent(tasks, self.work, scalar=True) as task:
            sums = T.alloc_buffer((shape.block, shape.columns), self.dtype, scope="local")
            self._clear(sums, shape.block)
            mine = tirx.min(index(each), index(groups) - task * each) if groups % each else index(each)

            def first(group: Any) -> Any:  # row; the last group may repeat rows of the one before it
                return tirx.min((task * each + group) * shape.walks, index(shape.rows - shape.walks))

            with serial(shape.trees) as tree, serial(mine) as group:
                row = first(group)
                at = self._walk([self.roots[tree, 0]] * shape.walks, self.roots[tree, 1], lambda k: row + k)
                for k in range(shape.walks):
                    self._add(sums, group * shape.walks + k, at, k)
            with serial(mine) as group, serial(shape.walks) as k:
                self._columns(lambda c: store(self.result, sums[group * shape.walks + k, c], first(group) + k, c))

    def _few_rows(self) -> None:
        shape, trees = self.shape, self.shape.trees
        walks = min(shape.walks, trees)
        with independent(shape.rows, self.work, scalar=True) as row:
            sums = T.alloc_buffer((1, shape.columns), self.dtype, scope="local")
            self._clear(sums, 1)
            whole = trees // walks
            with serial(whole) as group:
                self._several(sums, row, group * walks, walks)
            if trees % walks:
                self._several(sums, row, index(whole * walks), trees % walks)
            self._columns(lambda c: store(self.result, sums[0, c], row, c))

    def _several(self, sums: Any, row: Any, first: Any, walks: int) -> None:
        """One row through trees that follow each other."""
        depth: Any = self.roots[first, 1]
        for k in range(1, walks):
            depth = tirx.max(depth, self.roots[first + k, 1])
        at = self._walk([self.roots[first + k, 0] for k in range(walks)], depth, lambda k: row)
        for k in range(walks):
            self._add(sums, index(0), at, k)

    def _walk(self, roots: Sequence[Any], depth: Any, row: Callable[[int], Any]) -> Any:
        """From roots to leaves, whose numbers are left in a buffer."""
        at = T.alloc_buffer((len(roots),), "uint64", scope="local")
        for k, root in enumerate(roots):
            store(at, root.astype("uint64"), k)
        if not self.shape.shallow:
            with serial(depth.astype("int64")):
                self._step(at, len(roots), row)
            return at
        left = T.alloc_buffer((1,), "int64", scope="local")
        moved = T.alloc_buffer((1,), "uint64", scope="local")
        store(left, depth.astype("int64"), 0)
        with T.While(left[0] > index(0)):
            for step in range(_STEPS):
                last = step == _STEPS - 1
                if last:
                    store(moved, tirx.const(0, "uint64"), 0)
                self._step(at, len(roots), row, moved if last else None)
            going = tirx.Select(moved[0] == tirx.const(0, "uint64"), index(0), left[0] - index(_STEPS))
            store(left, going, 0)
        return at

    def _step(self, at: Any, walks: int, row: Callable[[int], Any], moved: Any = None) -> None:
        for k in range(walks):
            node = at[k].astype("int64")
            word = self.words[node] if self.thresholds is not None else self.words[node, 0]
            feature = (word & tirx.const((1 << self.shape.feature_bits) - 1, self.word)).astype("int64")
            value = self.data[row(k), feature]
            if self.shape.mixed:
                value = self._signed(value, word)
            bits = self.shape.feature_bits + self.shape.mixed
            child = (word >> tirx.const(bits, self.word)).astype("uint64")
            after = child + (value <= self._threshold(node)).astype("uint64")
            if moved is not None:
                store(moved, moved[0] | (after ^ at[k]), 0)
            store(at, after, k)

    def _signed(self, value: Any, word: Any) -> Any:
        width = 32 if self.bits == "uint32" else 64
        sign = word.astype(self.bits) << tirx.const(width - 1 - self.shape.feature_bits, self.bits)
        sign = sign & tirx.const(1 << (width - 1), self.bits)
        return tirx.reinterpret(self.floats, tirx.reinterpret(self.bits, value) ^ sign)

    def _threshold(self, node: Any) -> Any:
        if self.thresholds is not None:
            return self.thresholds[node].astype(self.floats)
        return tirx.reinterpret("float32", self.words[node, 1]).astype(self.floats)

    def _leaf(self, node: Any) -> Any:
        if self.thresholds is None:
            bits, dtype = self.words[node, 1], "uint32"
        else:
            dtype = _BITS[str(self.thresholds.dtype)]
            bits = tirx.reinterpret(dtype, self.thresholds[node])
        return (bits & tirx.const((1 << LEAF_BITS) - 1, dtype)).astype("int64")

    def _add(self, sums: Any, row: Any, at: Any, k: int) -> None:
        leaf = T.alloc_buffer((1,), "int64", scope="local")
        store(leaf, self._leaf(at[k].astype("int64")), 0)
        combine = {"SUM": lambda a, b: a + b, "MIN": tirx.min, "MAX": tirx.max}[self.shape.aggregate]
        self._columns(lambda c: store(sums, combine(sums[row, c], self.leaves[leaf[0], c].astype(self.dtype)), row, c))

    def _clear(self, sums: Any, rows: int) -> None:
        zero = tirx.const(0, self.dtype)
        start = {"SUM": zero, "MIN": tirx.max_value(self.dtype), "MAX": tirx.min_value(self.dtype)}
        with serial(rows) as row:
            self._columns(lambda c: store(sums, start[self.shape.aggregate], row, c))

    def _columns(self, body: Callable[[Any], None]) -> None:
        """For all columns, in whole vectors; what is left over in narrower ones."""
        done, lanes = 0, self.shape.lanes
        while done < self.shape.columns:
            while lanes > self.shape.columns - done:
                lanes //= 2
            count = (self.shape.columns - done) // lanes
            if count > 4:
                with serial(count) as number, vector(lanes) as lane:
                    body(number * lanes + (lane + done))
            else:
                for number in range(count):
                    with vector(lanes) as lane:
                        body(lane + (done + number * lanes))
            done += count * lanes
