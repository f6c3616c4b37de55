"""The first few elements of long rows without sorting.

The smallest element of each of 64 interleaved parts of a row is taken first; the largest of the first few of those
bounds what is looked for. Whole blocks whose smallest element is beyond the bound are passed over then; few elements
enter the sorted list of the best so far, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ...operators.by_hand import independent, program, serial, whole
from .radix import Order, key_of

LARGEST = 32  # elements of a list
_LANES = 16  # elements of a vector; LLVM takes it apart where the machine's are shorter
_VECTORS = 4  # of a block
BLOCK = _LANES * _VECTORS  # also the number of parts, twice LARGEST; rows are no shorter


def selected_positions(data: Any, order: Order) -> Any:
    """As `sorted_positions`, of rows that are side by side (`inner` 1), for at most LARGEST elements of each."""

    def write(source: Any, result: Any) -> None:
        with independent(order.outer, order.outer * order.size) as row:
            keys = T.alloc_buffer((list_size(order.count),), order.keys, scope="local")
            places = T.alloc_buffer((list_size(order.count),), "int32", scope="local")
            limit = T.alloc_buffer((1,), order.keys, scope="local")
            filled = T.alloc_buffer((1,), "int64", scope="local")
            best = Best(order.count, order.keys, keys, places, limit, filled, ())
            best.bound(lambda i: key_of(source[row, i, whole(0)], order), order.size)
            best.scan(lambda i: key_of(source[row, i, whole(0)], order), whole(order.size), whole(0))
            with serial(order.count) as i:
                T.buffer_store(result, places[i + whole(1)], [row, i, whole(0)])

    return program([data], [[order.outer, order.count, 1]], ["int32"], write, "select")


def list_size(count: int) -> int:
    """Of the buffers that hold a list: one element, and whole vectors."""
    return 1 + -(-count // _LANES) * _LANES


@dataclass(frozen=True)
class Best:
    """The sorted list of the elements of a row that have the lowest keys so far; those of equal keys as they came.

    Attributes:
        count: how many are wanted.
        dtype: of keys, unsigned.
        keys, places: the list, from the second element on; [list_size(count)] behind `at`.
        limit: keys above it do not belong to the first ones; [1] behind `at`.
        filled: how many are in the list, int64; [1] behind `at`.
        at: the first indices of these buffers.
        final: what is compared of a key; in the order of the keys, several of which it may make one.
        highest: for such a value, a key above which are no keys that it or less is made of.
    """

    count: int
    dtype: str
    keys: Any
    places: Any
    limit: Any
    filled: Any
    at: Sequence[Any]
    final: Callable[[Any], Any] = lambda key: key
    highest: Callable[[Any], Any] = lambda value: value

    def bound(self, key: Callable[[Any], Any], size: int) -> None:
        """Makes the list empty, and bounds the keys by those of `size` elements, a block's or more."""
        least = T.alloc_buffer((BLOCK,), self.dtype, scope="local")
        _lower(least, BLOCK, key, whole(0), _VECTORS)
        with serial(size // BLOCK - 1) as block:
            _lower(least, BLOCK, key, (block + whole(1)) * whole(BLOCK), _VECTORS, keep=True)
        self._set(self.filled, whole(0), 0)
        with serial(BLOCK) as part:
            self._enter(self.final(least[part]), part)
        self._set(self.limit, self.highest(self._worst()), 0)
        self._set(self.filled, whole(0), 0)

    def scan(self, key: Callable[[Any], Any], size: Any, first: Any) -> None:
        """Enters what belongs to the list, of `size` elements; the first one's place is `first`."""
        least = T.alloc_buffer((_LANES,), self.dtype, scope="local")
        blocks = tirx.floordiv(size, whole(BLOCK))

        def may_enter(begin: Any, vectors: int) -> Any:
            _lower(least, _LANES, key, begin, vectors)
            half = _LANES // 2
            while half > 1:
                with T.vectorized(half) as lane:
                    T.buffer_store(least, tirx.min(least[lane], least[half + lane]), [lane])
                half //= 2
            return tirx.min(least[0], least[1]) <= self._get(self.limit, 0)

        with serial(blocks) as block:
            begin = block * whole(BLOCK)
            with T.If(may_enter(begin, _VECTORS)), T.Then(), serial(_VECTORS) as vector:
                start = begin + vector * whole(_LANES)
                with T.If(may_enter(start, 1)), T.Then(), serial(_LANES) as lane:
                    self._look(key(start + lane), first + start + lane)
        with serial(size - blocks * whole(BLOCK)) as rest:
            i = blocks * whole(BLOCK) + rest
            self._look(key(i), first + i)

    def _look(self, key: Any, place: Any) -> None:
        """Enters an element that may belong to the first ones."""
        none, one = (tirx.const(number, self.dtype) for number in (0, 1))
        with T.If(key <= self._get(self.limit, 0)), T.Then():
            self._enter(self.final(key), place)
            with T.If(self._get(self.filled, 0) == whole(self.count)), T.Then():
                worst = self._worst()  # only what is below it enters
                self._set(self.limit, self.highest(tirx.Select(worst == none, none, worst - one)), 0)

    def _enter(self, key: Any, place: Any) -> None:
        """Puts an element behind its equals; the last one leaves a full list."""
        own = T.alloc_buffer((1,), self.dtype, scope="local")
        T.buffer_store(own, key, [0])
        filled = self._get(self.filled, 0)
        with T.If(tirx.any(filled < whole(self.count), own[0] < self._worst())), T.Then():
            # Places from the first with a higher key on get what is before them; the list begins with its second place.
            for begin in reversed(range(0, self.count, _LANES)):
                self._insert(own[0], place.astype("int32"), begin)
            self._set(self.filled, tirx.min(filled + whole(1), whole(self.count)), 0)

    def _insert(self, key: Any, place: Any, begin: int) -> None:
        """One vector's part of it."""
        moved, others = (T.alloc_buffer((_LANES,), t, scope="local") for t in (self.dtype, "int32"))
        for buffer, target, new in ((self.places, others, place), (self.keys, moved, key)):
            with T.vectorized(_LANES) as lane:
                at = lane.astype("int64") + whole(begin)
                known = self._get(self.keys, at + whole(1))
                stays = tirx.all(known <= key, at < self._get(self.filled, 0))
                here = tirx.any(at == whole(0), self._get(self.keys, at) <= key)
                shifted = tirx.Select(here, new, self._get(buffer, at))
                T.buffer_store(target, tirx.Select(stays, self._get(buffer, at + whole(1)), shifted), [lane])
        for buffer, target in ((self.places, others), (self.keys, moved)):
            with T.vectorized(_LANES) as lane:
                self._set(buffer, target[lane], lane.astype("int64") + whole(begin + 1))

    def _worst(self) -> Any:
        return self._get(self.keys, self.count)

    def _get(self, buffer: Any, i: Any) -> Any:
        return buffer[self._place(i)]

    def _set(self, buffer: Any, value: Any, i: Any) -> None:
        T.buffer_store(buffer, value, list(self._place(i)))

    def _place(self, i: Any) -> tuple[Any, ...]:
        return (*self.at, whole(i) if isinstance(i, int) else i)


def _lower(least: Any, parts: int, key: Callable[[Any], Any], begin: Any, vectors: int, keep: bool = False) -> None:
    """The smallest keys of some vectors, element by element of `least[:parts]`; with those before if `keep`."""
    for vector in range(vectors):
        at = vector * _LANES % parts
        with T.vectorized(_LANES) as lane:
            value = key(begin + whole(vector * _LANES) + lane.astype("int64"))
            known = keep or vector * _LANES >= parts
            T.buffer_store(least, tirx.min(least[at + lane], value) if known else value, [at + lane])
