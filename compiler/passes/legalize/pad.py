"""Margins around a tensor.

Each axis says by conditions which element it takes; schedules cut the tensor where these change.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx


def pad(builder: relax.BlockBuilder, call: Any) -> Any:
    """`relax.nn.pad` in all its modes."""
    attrs = call.attrs
    widths = [int(width) for width in attrs.pad_width]
    mode, fill = str(attrs.pad_mode), float(attrs.pad_value)

    def padded(data: Any) -> Any:
        return _padded(data, widths[::2], widths[1::2], mode, fill)

    return builder.call_te(padded, call.args[0], primfunc_name_hint="pad")


def _padded(data: Any, before: list[int], after: list[int], mode: str, fill: float) -> Any:
    shape = [size + low + high for size, low, high in zip(data.shape, before, after, strict=True)]

    def element(*at: Any) -> Any:
        positions = [i - low for i, low in zip(at, before, strict=True)]
        if mode != "constant":
            sizes = zip(positions, data.shape, before, after, strict=True)
            return data(*[_INSIDE[mode](i, int(size), low, high) for i, size, low, high in sizes])
        inside = []
        for i, size, low, high in zip(positions, data.shape, before, after, strict=True):
            inside += [i >= 0] if low else []
            inside += [i < size] if high else []
        value = data(*positions)
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(fill, data.dtype)) if inside else value

    return te.compute(shape, element, name="pad")


def _piecewise(i: Any, size: int, low: int, high: int, below: Any, above: Any) -> Any:
    """`i`, but `below` before the first element and `above` after the last one."""
    inner = tirx.if_then_else(i >= size, above, i) if high else i
    return tirx.if_then_else(i < 0, below, inner) if low else inner


def _replicate(i: Any, size: int, low: int, high: int) -> Any:
    first, last = tirx.const(0, i.ty.dtype), tirx.const(size - 1, i.ty.dtype)
    return _piecewise(i, size, low, high, first, last)


def _reflect(i: Any, size: int, low: int, high: int) -> Any:
    if max(low, high) < size:
        return _piecewise(i, size, low, high, -i, 2 * (size - 1) - i)
    period = max(2 * (size - 1), 1)
    folded = tirx.floormod(i, period)
    return tirx.min(folded, period - folded) if size > 1 else folded


def _circular(i: Any, size: int, low: int, high: int) -> Any:
    if max(low, high) <= size:
        return _piecewise(i, size, low, high, i + size, i - size)
    return tirx.floormod(i, size)


_INSIDE = {"replicate": _replicate, "reflect": _reflect, "circular": _circular}
