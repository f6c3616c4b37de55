"""What bands are made of: operators on images, the rows that each takes, and regions of them that make some rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import ir, relax

from .constants import constant
from .rewrite import is_channels_last, item_bytes, operator_of, shape_of
from .sink_transposes import is_elementwise

Rows = tuple[int, int]  # the first, and the one after the last

_ROWS = -3  # their axis in NHWC
_PAD = "relax.nn.pad"
_POOL = "relax.nn.max_pool2d"


@dataclass(frozen=True)
class RowWindow:
    """Row y of the result takes `size` rows of an operand from y * stride - before on, as far as there are any."""

    stride: int = 1
    size: int = 1
    before: int = 0

    def ends(self, rows: Rows) -> Rows:
        """Where the rows that some of the result take begin and end, in the operand or in its padding."""
        return rows[0] * self.stride - self.before, (rows[1] - 1) * self.stride - self.before + self.size

    def rows(self, rows: Rows, height: int) -> Rows | None:
        """Those that an operand has; None if there are none."""
        first, end = self.ends(rows)
        return (max(0, first), min(height, end)) if max(0, first) < min(height, end) else None


def _window_of(call: Any) -> RowWindow | None:
    """The window of an operator on images, NHWC; None if it is none, or takes other rows."""
    if not isinstance(call, ir.Call) or not isinstance(call.ty, relax.TensorType) or len(call.ty.shape) != 4:
        return None
    name, attrs = operator_of(call), call.attrs
    if is_elementwise(call):
        return RowWindow()
    if name == "relax.nn.conv2d" and is_channels_last(call) and not any(int(p) for p in attrs.padding):
        return RowWindow(int(attrs.strides[0]), _reach(shape_of(call.args[1])[0], attrs))
    if name == _POOL and str(attrs.layout) == "NHWC" == str(attrs.out_layout) and not attrs.ceil_mode:
        return RowWindow(int(attrs.strides[0]), _reach(attrs.pool_size[0], attrs), int(attrs.padding[0]))
    if name == _PAD and str(attrs.pad_mode) == "constant":
        return RowWindow(before=int(attrs.pad_width[2]))
    return None


def _reach(taps: Any, attrs: Any) -> int:
    return (int(taps) - 1) * int(attrs.dilation[0]) + 1


@dataclass(frozen=True)
class Row:
    """A call that has a window, as far as rows matter.

    Attributes:
        images: the operands that it takes rows of, or all of in each row, and how many they have; None for the latter.
        elementwise: whether fusion computes it in the kernel of its operand.
        height: rows of its result.
        nbytes: of one row of all images of its result.
    """

    call: Any
    window: RowWindow
    images: tuple[tuple[Any, int | None], ...]
    elementwise: bool
    height: int
    nbytes: int

    @staticmethod
    def of(call: Any) -> Row | None:
        """None for a call without a window."""
        window = _window_of(call)
        if window is None:
            return None
        elementwise, shape = is_elementwise(call), shape_of(call)
        operands = tuple((arg, _height(arg)) for arg in (call.args if elementwise else call.args[:1]))
        size = math.prod(shape) // max(1, shape[1]) * item_bytes(call)
        return Row(call, window, operands, elementwise, shape[1], size)


class Region:
    """Calls with windows, of whose values only the last is read elsewhere.

    Attributes:
        rows: by variable, in order.
        first: the first call.
        result: the last variable.
        height: its rows.
    """

    def __init__(self, rows: dict[Any, Row]) -> None:
        self.rows = rows
        self.result, self.first = next(reversed(rows)), next(iter(rows.values())).call
        self.height = rows[self.result].height

    def bands(self, rows: int) -> list[Rows]:
        return [(first, min(self.height, first + rows)) for first in range(0, self.height, rows)]

    def needs(self, band: Rows) -> dict[Any, Rows] | None:
        """The rows of each value that some rows of the result take; None if one takes nothing but padding."""
        found = {self.result: band}
        for var, row in reversed(self.rows.items()):
            for arg, _ in row.images:
                if arg in self.rows:
                    taken = row.window.rows(found[var], self.rows[arg].height)
                    if taken is None:
                        return None
                    first, end = found.get(arg, taken)
                    found[arg] = min(first, taken[0]), max(end, taken[1])
        return found

    def needs_of_bands(self, rows: int) -> list[tuple[dict[Any, Rows], int]] | None:
        """What bands of so many rows take: the first, one for all in the middle, and the last; and how many there are.

        None where it is known that a value takes nothing but padding.
        """
        bands = self.bands(rows)
        parts = [(bands[0], 1), (bands[len(bands) // 2], len(bands) - 2), (bands[-1], 1)]
        found = []
        for band, count in parts:
            if count > 0:
                needs = self.needs(band)
                if needs is None:
                    return None
                found.append((needs, count))
        return found

    def is_possible(self, rows: int) -> bool:
        return all(self.needs(band) is not None for band in self.bands(rows))

    def emit(self, builder: relax.BlockBuilder, rows: int) -> Any:
        """The result, put together from bands of so many rows."""
        return relax.op.concat([self._emit_band(builder, band) for band in self.bands(rows)], axis=1)

    def _emit_band(self, builder: relax.BlockBuilder, band: Rows) -> Any:
        needs = self.needs(band)
        assert needs is not None
        made: dict[Any, Any] = {}
        for var, row in self.rows.items():
            operands = list(row.call.args)
            for place, (arg, height) in enumerate(row.images):
                if height is not None:
                    taken = row.window.rows(needs[var], height)
                    assert taken is not None
                    begin = needs[arg][0] if arg in made else 0
                    operands[place] = _cut(builder, made.get(arg, arg), (taken[0] - begin, taken[1] - begin))
            value = _rows_of_result(row.call, operands, row.window.ends(needs[var]))
            made[var] = value if value is operands[0] else builder.emit(value)
        return made[self.result]


def _height(operand: Any) -> int | None:
    """How many rows an operand has; None if all rows of the result take the same of it."""
    if not isinstance(operand.ty, relax.TensorType) or len(operand.ty.shape) < -_ROWS:
        return None
    height = shape_of(operand)[_ROWS]
    return height if height > 1 else None


def _cut(builder: relax.BlockBuilder, tensor: Any, rows: Rows) -> Any:
    shape = shape_of(tensor)
    if rows == (0, shape[_ROWS]):
        return tensor
    if isinstance(tensor, ir.GenericConst):
        return constant(tensor.value.numpy()[..., slice(*rows), :, :])
    return builder.emit(relax.op.strided_slice(tensor, [len(shape) + _ROWS], [rows[0]], [rows[1]]))


def _rows_of_result(call: Any, operands: Sequence[Any], ends: Rows) -> Any:
    """What an operator makes of some rows.

    Args:
        call: what makes the whole result.
        operands: cut.
        ends: where these rows begin and end in the whole operand or in its padding.
    """
    name, attrs = operator_of(call), call.attrs
    height = _height(call.args[0]) or 1
    above, below = max(0, -ends[0]), max(0, ends[1] - height)
    if name == _PAD:
        widths = [int(width) for width in attrs.pad_width]
        widths[2:4] = above, below
        if not any(widths):
            return operands[0]
        return relax.op.nn.pad(operands[0], widths, str(attrs.pad_mode), float(attrs.pad_value))
    if name == _POOL:
        _, left, _, right = (int(width) for width in attrs.padding)
        return relax.op.nn.max_pool2d(
            operands[0],
            pool_size=list(attrs.pool_size),
            strides=list(attrs.strides),
            padding=[above, left, below, right],
            dilation=list(attrs.dilation),
            layout=str(attrs.layout),
            out_layout=str(attrs.out_layout),
        )
    return ir.Call(call.op, list(operands), attrs, call.ty_args)
