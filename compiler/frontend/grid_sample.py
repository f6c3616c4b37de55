"""GridSample as sums of pixels with all of their channels, for which places and weights are computed once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import TensorProto

from .composer import Composer
from .domains import PROGRAMS
from .programs import type_attributes

_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE)
_MOST_PIXELS = 16  # that a result is made of
_KEYS = -0.75  # the parameter of cubic convolution that the standard takes

# A pixel's place along an axis, as a float inside of it, and its weight; empty for 1.
Tap = tuple[str, str]


def grid_sample(to: Composer) -> Sequence[str] | None:
    """All modes of it where shapes are known."""
    (elem_type, shape), (grid_type, places) = map(to.type, to.node.input)
    if shape is None or places is None or 0 in (*shape, *places) or elem_type != grid_type or elem_type not in _TYPES:
        return None
    (batch, channels, *sizes), results = shape, places[1:-1]
    mode, padding = (to.attributes[name].decode() for name in ("mode", "padding_mode"))
    axes = [_Axis(to, elem_type, size, mode, padding, bool(to.attributes["align_corners"])) for size in sizes]
    if axes[0].count ** len(axes) > _MOST_PIXELS:
        return None
    data, grid = to.node.input
    taps = [tap for i, axis in enumerate(axes) for tap in axis.taps(_coordinate(to, grid, len(sizes) - 1 - i, batch))]
    made = to(
        "Sample",
        to("Transpose", data, perm=[0, *range(2, len(shape)), 1]),
        *(to("Cast", place, to=TensorProto.INT32) for place, _ in taps),
        *(weight for _, weight in taps if weight),
        domain=PROGRAMS,
        taps=[axis.count for axis in axes],
        **type_attributes((elem_type, (batch, math.prod(results), channels))),
    )
    whole = to.reshape(made, batch, *results, channels)
    return [to("Transpose", whole, perm=[0, len(sizes) + 1, *range(1, len(sizes) + 1)])]


def _coordinate(to: Composer, grid: str, place: int, batch: int) -> str:
    """One of a grid's coordinates, [batch, results]."""
    return to.reshape(to("Gather", grid, to.constant(place), axis=-1), batch, -1)


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of the image.

    Attributes:
        elem_type: of the grid.
        size: pixels.
        aligned: whether the first and the last pixel's centres are at the ends, or their outer edges.
    """

    to: Composer
    elem_type: int
    size: int
    mode: str
    padding: str
    aligned: bool

    @property
    def count(self) -> int:
        """Pixels that a result is made of."""
        return {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}[self.mode]

    @property
    def ends(self) -> tuple[float, float]:
        edge = 0.0 if self.aligned else 0.5
        return -edge, self.size - 1 + edge

    def taps(self, coordinate: str) -> list[Tap]:
        """By a coordinate from -1 to 1, and beyond."""
        to, (low, high) = self.to, self.ends
        x = self._add(self._times(self._add(coordinate, 1.0), (high - low) / 2), low)
        if self.count == 1:
            return [self._pixel(self._inside(to("Round", x)), "")]
        x = self._inside(x)
        first = to("Floor", x)
        rest = to("Sub", x, first)
        if self.count == 2:
            return [self._pixel(first, self._less(1.0, rest)), self._pixel(self._add(first, 1.0), rest)]
        near, far = rest, self._less(1.0, rest)
        weights = [self._outer(near), self._inner(near), self._inner(far), self._outer(far)]
        return [self._pixel(self._add(first, float(i - 1)), weight) for i, weight in enumerate(weights)]

    def _inside(self, x: str) -> str:
        """Where an outside is looked up; no further from the image than pixels of it count, NaNs neither."""
        low, high = self.ends
        reach = 1.0 if self.count < 4 else 2.0
        if self.padding == "reflection":
            x = self._reflected(x)
        elif self.padding == "border":
            beyond = self._clipped(x, 0.0, self.size - 1.0)
            if self.count < 4:
                return beyond
            outside = self.to("Or", self._compared("Less", x, low), self._compared("Greater", x, high))
            x = self.to("Where", outside, beyond, x)
        return self._clipped(x, -reach, self.size - 1 + reach)

    def _reflected(self, x: str) -> str:
        """At both ends, as often as it takes to be inside."""
        (low, high), to = self.ends, self.to
        span = high - low
        if not span:
            return self._times(x, 0.0)
        x = self._add(x, -low)
        there_and_back = to("Floor", self._times(x, 1 / (2 * span)))
        x = to("Sub", x, self._times(there_and_back, 2 * span))
        return self._less(high, to("Abs", self._add(x, -span)))

    def _pixel(self, place: str, weight: str) -> Tap:
        last, to = self.size - 1.0, self.to
        if self.padding == "zeros":
            inside = to("And", self._compared("GreaterOrEqual", place, 0.0), self._compared("LessOrEqual", place, last))
            weight = to("Where", inside, weight or self._number(1.0), self._number(0.0))
        elif self.padding == "reflection" and self.count == 4:
            low, high = self.ends
            place = self._add(to("Abs", self._add(place, -low)), low)
            place = self._less(high, to("Abs", self._less(high, place)))
        return self._clipped(place, 0.0, last), weight

    def _inner(self, distance: str) -> str:
        """The weight of a pixel at a distance of up to 1."""
        cubic = self._add(self._times(distance, _KEYS + 2), -(_KEYS + 3))
        return self._add(self.to("Mul", cubic, self.to("Mul", distance, distance)), 1.0)

    def _outer(self, distance: str) -> str:
        """Of one that is 1 further away."""
        x = self._add(distance, 1.0)
        cubic = self._add(self.to("Mul", self._add(self._times(x, _KEYS), -5 * _KEYS), x), 8 * _KEYS)
        return self._add(self.to("Mul", cubic, x), -4 * _KEYS)

    def _number(self, value: float) -> str:
        return self.to.constant(value, self.elem_type)

    def _add(self, x: str, value: float) -> str:
        return self.to("Add", x, self._number(value)) if value else x

    def _less(self, value: float, x: str) -> str:
        return self.to("Sub", self._number(value), x)

    def _times(self, x: str, value: float) -> str:
        return self.to("Mul", x, self._number(value))

    def _compared(self, operator: str, x: str, value: float) -> str:
        return self.to(operator, x, self._number(value))

    def _clipped(self, x: str, low: float, high: float) -> str:
        return self.to("Clip", x, self._number(low), self._number(high))
