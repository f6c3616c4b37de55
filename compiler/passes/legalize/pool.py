"""Pooling over windows; large windows one axis after the other, which takes the sum of their sides in steps.

Outside of the tensor there is nothing: windows at its border have fewer elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from .pool_rows import LARGEST, max_pool_rows

_SPATIAL = "DHW"


@dataclass(frozen=True)
class _Window:
    """Along one axis: `kernel` elements, `dilation` apart, begin at `stride` times the position minus `before`."""

    axis: int
    size: int
    results: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    def place(self, position: Any, number: Any) -> Any:
        return position * self.stride + number * self.dilation - self.before

    def inside(self, place: Any) -> list[Any]:
        """Conditions for a place to be in the tensor, as far as any window leaves it."""
        last = (self.results - 1) * self.stride + (self.kernel - 1) * self.dilation - self.before
        return [place >= 0] * (self.before > 0) + [place < self.size] * (last >= self.size)

    def counts(self, with_padding: bool) -> Any:
        """How many elements an average divides by, for each position."""
        places = np.arange(self.results)[:, None] * self.stride + np.arange(self.kernel) * self.dilation - self.before
        low, high = (-self.before, self.size + self.after) if with_padding else (0, self.size)
        return np.maximum(((places >= low) & (places < high)).sum(axis=1), 1)


def _pool(name: str, average: bool) -> Any:
    from_tvm = tvm.ir.Op.get(name).get_attr("FLegalize")
    hint = name.removeprefix("relax.nn.")

    def pool(builder: relax.BlockBuilder, call: Any) -> Any:
        data, attrs = call.args[0], call.attrs
        dtype = str(call.ty.dtype)
        if str(attrs.layout) != str(attrs.out_layout) or (average and "float" not in dtype):
            return from_tvm(builder, call)
        windows = _windows(call)
        if not average and _along_rows(windows, call):
            return max_pool_rows(builder, call, windows, _lowest(dtype))
        combine = te.sum if average else te.max
        outside = 0.0 if average else _lowest(dtype)
        *first, last = _passes(windows)
        for some in first:
            data = builder.emit(builder.call_te(_reducer(some, combine, outside), data, primfunc_name_hint=hint))
        reducer = _reducer(last, combine, outside)
        if not average:
            return builder.call_te(reducer, data, primfunc_name_hint=hint)
        shares = [_share(window, bool(attrs.count_include_pad)) for window in windows]

        def averaged(values: Any, *tables: Any) -> Any:
            sums, rest = reducer(values), iter(tables)
            varying = [
                (window.axis, next(rest)) for window, share in zip(windows, shares, strict=True) if share.size > 1
            ]
            constant = math.prod(float(share[0]) for share in shares if share.size == 1)

            def element(*at: Any) -> Any:
                factor = tirx.const(constant, dtype)
                for axis, table in varying:
                    factor = factor * table[at[axis]]
                return sums(*at) * factor

            return te.compute(sums.shape, element, name="averaged")

        tables = [relax.const(share.astype(dtype), dtype) for share in shares if share.size > 1]
        return builder.call_te(averaged, data, *tables, primfunc_name_hint=hint)

    return pool


def _along_rows(windows: list[_Window], call: Any) -> bool:
    """Whether the last window runs along contiguous memory, in at most two dimensions."""
    last, sizes = windows[-1], [int(size) for size in call.args[0].ty.shape]
    if 0 in sizes or len(windows) > 2 or last.axis != len(sizes) - 1:
        return False
    return last.size > 1 and 1 < last.kernel <= LARGEST


def _windows(call: Any) -> list[_Window]:
    attrs = call.attrs
    sizes, results = ([int(size) for size in ty.shape] for ty in (call.args[0].ty, call.ty))
    axes = [str(attrs.layout).index(letter) for letter in _SPATIAL if letter in str(attrs.layout)]
    numbers = [[int(v) for v in values] for values in (attrs.pool_size, attrs.strides, attrs.dilation)]
    padding = [int(v) for v in attrs.padding]
    sides = zip(*numbers, padding[: len(axes)], padding[len(axes) :], strict=True)
    return [_Window(axis, sizes[axis], results[axis], *side) for axis, side in zip(axes, sides, strict=True)]


def _passes(windows: list[_Window]) -> list[list[_Window]]:
    """The windows that are reduced together: all of them, or one after the other if that halves the work."""
    together = math.prod(w.kernel * w.results for w in windows)
    alone, sizes = 0, [w.size for w in windows]
    for number, window in enumerate(windows):
        sizes[number] = window.results
        alone += window.kernel * math.prod(sizes)
    return [[w] for w in windows] if 2 * alone < together else [windows]


def _reducer(windows: Sequence[_Window], combine: Any, outside: Any) -> Any:
    return lambda data: _reduced(data, windows, combine, outside)


def _reduced(data: Any, windows: Sequence[_Window], combine: Any, outside: Any) -> Any:
    shape = list(data.shape)
    for window in windows:
        shape[window.axis] = tirx.IntImm("int64", window.results)
    numbers = [te.reduce_axis((0, window.kernel), "tap") for window in windows]

    def element(*at: Any) -> Any:
        places, inside = list(at), []
        for window, number in zip(windows, numbers, strict=True):
            places[window.axis] = window.place(at[window.axis], number.var)
            inside += window.inside(places[window.axis])
        value = data(*places)
        if inside:
            value = tirx.if_then_else(tirx.all(*inside), value, tirx.const(outside, data.dtype))
        return combine(value, axis=numbers)

    return te.compute(shape, element, name="pool")


def _share(window: _Window, with_padding: bool) -> Any:
    """What a sum is multiplied by: for each position, or one number for all."""
    shares = 1.0 / window.counts(with_padding)
    return shares[:1] if (shares == shares[0]).all() else shares


def _lowest(dtype: str) -> float | int:
    return -math.inf if "float" in dtype else int(np.iinfo(dtype).min)


POOLS = {
    f"relax.nn.{kind}_pool{rank}d": _pool(f"relax.nn.{kind}_pool{rank}d", kind == "avg")
    for kind in ("max", "avg")
    for rank in (1, 2, 3)
}
