"""Sorting long axes by the digits of their elements, the last digit first (Knuth, "The Art of Computer
Programming" 3, section 5.2.5): stable, and the time does not depend on the values.

Of the first few elements, one look at the first digits leaves out most others before anything is sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from ...operators.by_hand import independent, program, serial, whole

_DIGIT = 8  # bits
_FIRST = 11  # bits of the look that leaves elements out
_FEW = 4  # times fewer wanted than there are: then it pays


@dataclass(frozen=True)
class Order:
    """What is sorted: `size` elements of each of `outer` × `inner` rows, of which the first `count` are wanted."""

    outer: int
    size: int
    inner: int
    count: int
    descending: bool
    dtype: str

    @property
    def bits(self) -> int:
        return int(tvm_ffi.dtype(self.dtype).bits)

    @property
    def keys(self) -> str:
        """The type of what stands for an element: an unsigned integer that sorts as it does."""
        return f"uint{max(self.bits, 16)}"


def sorted_positions(data: Any, order: Order) -> Any:
    """Positions [outer, count, inner], int32, of the elements in order; equals keep theirs, NaN is the largest."""
    rows = order.outer * order.inner
    shapes = [[order.outer, order.count, order.inner], *[[rows, order.size]] * 4, [rows, 1 << _FIRST]]
    dtypes = ["int32", order.keys, order.keys, "int32", "int32", "int32"]

    def write(source: Any, result: Any, keys: Any, others: Any, places: Any, moved: Any, counts: Any) -> None:
        with independent(rows, rows * order.size * order.bits) as row:
            outer, inner = tirx.floordiv(row, whole(order.inner)), tirx.floormod(row, whole(order.inner))
            left = T.alloc_buffer((1,), "int64", scope="local")
            T.buffer_store(left, whole(order.size), [0])
            with serial(order.size) as i:
                T.buffer_store(others, key_of(source[outer, i, inner], order), [row, i])
            if order.count * _FEW <= order.size:
                _leave_out(row, others, keys, places, counts, left, order)
            else:
                with serial(order.size) as i:
                    T.buffer_store(keys, others[row, i], [row, i])
                    T.buffer_store(places, i.astype("int32"), [row, i])
            here, there = (keys, places), (others, moved)
            for shift in range(0, order.bits, _DIGIT):
                _distribute(row, here, there, counts, left[0], shift)
                here, there = there, here
            with serial(order.count) as i:
                T.buffer_store(result, here[1][row, i], [outer, i, inner])

    return program([data], shapes, dtypes, write, "sort")


def key_of(value: Any, order: Order) -> Any:
    """An unsigned integer whose order is that of the values."""
    dtype, keys = order.dtype, order.keys
    if dtype.startswith("float"):
        raw = tirx.reinterpret(f"uint{order.bits}", value).astype(keys)
        sign, ones = _bits(1 << (order.bits - 1), keys), _bits((1 << order.bits) - 1, keys)
        raw = tirx.Select(raw == sign, _bits(0, keys), raw)  # -0 is 0; TVM takes `value + 0` for `value`
        turned = tirx.Select(tirx.bitwise_and(raw, sign) != _bits(0, keys), ones - raw, tirx.bitwise_or(raw, sign))
        infinity = {16: 0x7C00, 32: 0x7F800000, 64: 0x7FF0000000000000}[order.bits]
        magnitude = tirx.bitwise_and(raw, ones - sign)
        key = tirx.Select(magnitude > _bits(infinity, keys), ones, turned)
    elif dtype.startswith("int"):
        ones = _bits((1 << order.bits) - 1, keys)
        raw = tirx.bitwise_and(value.astype(keys), ones)
        key = tirx.bitwise_xor(raw, _bits(1 << (order.bits - 1), keys))
    else:
        ones, key = _bits((1 << order.bits) - 1, keys), value.astype(keys)
    return ones - key if order.descending else key


def _bits(value: int, dtype: str) -> Any:
    """A constant; those that no signed integer holds, from two halves."""
    if value < 1 << 63:
        return tirx.const(value, dtype)
    high = tirx.shift_left(tirx.const(value >> 32, dtype), tirx.const(32, dtype))
    return tirx.bitwise_or(high, tirx.const(value & 0xFFFFFFFF, dtype))


def _leave_out(row: Any, source: Any, keys: Any, places: Any, counts: Any, left: Any, order: Order) -> None:
    """Keeps what may be among the first ones, by the first bits of the keys; in order of position."""
    shift, digits = max(0, order.bits - _FIRST), 1 << min(_FIRST, order.bits)
    _clear(row, counts, digits)
    with serial(order.size) as i:
        digit = _digit(source[row, i], shift, digits)
        T.buffer_store(counts, counts[row, digit] + 1, [row, digit])
    last, seen = (T.alloc_buffer((1,), "int32", scope="local") for _ in range(2))
    T.buffer_store(last, tirx.const(0, "int32"), [0])
    T.buffer_store(seen, tirx.const(0, "int32"), [0])
    with serial(digits) as digit:
        T.buffer_store(last, tirx.Select(seen[0] < order.count, digit.astype("int32"), last[0]), [0])
        T.buffer_store(seen, seen[0] + counts[row, digit], [0])
    T.buffer_store(left, whole(0), [0])
    with serial(order.size) as i, T.If(_digit(source[row, i], shift, digits) <= last[0].astype("int64")), T.Then():
        T.buffer_store(keys, source[row, i], [row, left[0]])
        T.buffer_store(places, i.astype("int32"), [row, left[0]])
        T.buffer_store(left, left[0] + whole(1), [0])


def _distribute(row: Any, here: Any, there: Any, counts: Any, left: Any, shift: int) -> None:
    """Moves elements to where the digit at `shift` puts them; equal digits keep their order."""
    (keys, places), (to_keys, to_places), digits = here, there, 1 << _DIGIT
    _clear(row, counts, digits)
    with serial(left) as i:
        digit = _digit(keys[row, i], shift, digits)
        T.buffer_store(counts, counts[row, digit] + 1, [row, digit])
    seen = T.alloc_buffer((2,), "int32", scope="local")
    T.buffer_store(seen, tirx.const(0, "int32"), [0])
    with serial(digits) as digit:
        T.buffer_store(seen, counts[row, digit], [1])
        T.buffer_store(counts, seen[0], [row, digit])
        T.buffer_store(seen, seen[0] + seen[1], [0])
    at = T.alloc_buffer((1,), "int32", scope="local")
    with serial(left) as i:
        digit = _digit(keys[row, i], shift, digits)
        T.buffer_store(at, counts[row, digit], [0])
        T.buffer_store(to_keys, keys[row, i], [row, at[0].astype("int64")])
        T.buffer_store(to_places, places[row, i], [row, at[0].astype("int64")])
        T.buffer_store(counts, at[0] + 1, [row, digit])


def _clear(row: Any, counts: Any, digits: int) -> None:
    with serial(digits) as digit:
        T.buffer_store(counts, tirx.const(0, "int32"), [row, digit])


def _digit(key: Any, shift: int, digits: int) -> Any:
    dtype = str(key.ty.dtype)
    moved = tirx.shift_right(key, tirx.const(shift, dtype)) if shift else key
    return tirx.bitwise_and(moved, tirx.const(digits - 1, dtype)).astype("int64")
