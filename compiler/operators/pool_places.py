"""Where the maxima of windows are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from .define import define

POOL_PLACES = "edgec.pool_places"


def pool_places(
    data: Any,
    maxima: Any,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    before: Sequence[int],
    by_column: bool,
) -> Any:
    """A Relax expression: the place in `data` [batch, channels, *sizes] of each of the maxima of its windows, int64.

    Args:
        maxima: [batch, channels, *positions].
        before: how far the first window begins before the data, by axis.
        by_column: places count the first axis of a channel's data first; else its last one.
    """
    lists = {"kernel": kernel, "strides": strides, "dilations": dilations, "before": before}
    numbers = {name: [int(n) for n in values] for name, values in lists.items()}
    return _call(data, maxima, by_column=int(by_column), **numbers)


def _infer_type(call: Any) -> Any:
    return relax.TensorType(list(call.args[1].ty.shape), "int64")


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    kernel, strides, dilations, before = (
        [int(n) for n in call.attrs[name]] for name in ("kernel", "strides", "dilations", "before")
    )
    shape = [int(size) for size in call.args[0].ty.shape]
    channels, sizes = shape[1], shape[2:]
    last = math.prod(sizes) - 1

    def found(data: Any, maxima: Any) -> Any:
        taps = [te.reduce_axis((0, size), "tap") for size in kernel]

        def first(batch: Any, channel: Any, *at: Any) -> Any:
            places, inside = [], []
            for i, tap, stride, dilation, low, size in zip(at, taps, strides, dilations, before, sizes, strict=True):
                place = i * stride + tap.var * dilation - low
                inside += [place >= 0, place < size]
                places.append(place)
            flat = _flat(places, sizes).astype("int32")
            value = tirx.if_then_else(
                tirx.all(*inside),
                tirx.Select(
                    data(batch, channel, *places) == maxima(batch, channel, *at), flat, tirx.const(last, "int32")
                ),
                tirx.const(last, "int32"),
            )
            return te.min(value, axis=taps)

        return te.compute(maxima.shape, first, name="first")

    def numbered(places: Any) -> Any:
        def number(batch: Any, channel: Any, *at: Any) -> Any:
            rest, apart = places(batch, channel, *at).astype("int64"), []
            for size in reversed(sizes):
                apart.append(tirx.floormod(rest, size))
                rest = tirx.floordiv(rest, size)
            flat = _flat(apart, sizes[::-1]) if call.attrs["by_column"] else places(batch, channel, *at).astype("int64")
            return (batch * channels + channel) * (last + 1) + flat

        return te.compute(places.shape, number, name="number")

    places = builder.emit(builder.call_te(found, *call.args, primfunc_name_hint="pool_places"))
    return builder.call_te(numbered, places, primfunc_name_hint="numbers")


def _flat(places: Sequence[Any], sizes: Sequence[int]) -> Any:
    flat = places[0]
    for place, size in zip(places[1:], sizes[1:], strict=True):
        flat = flat * size + place
    return flat


_call = define(POOL_PLACES, _infer_type, _legalize)
