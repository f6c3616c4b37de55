"""Resize; TVM's converter takes the sizes' ratio for the scale, and knows neither axes nor antialiasing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # of NumPy


@dataclass(frozen=True)
class _Axis:
    """An axis of `size` elements that gets `results`, `scale` times as many up to rounding.

    Attributes:
        begin, end: of the region of interest, as shares of the axis.
    """

    size: int
    results: int
    scale: float
    begin: float = 0.0
    end: float = 1.0


def resize(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, region, scales or sizes (constants) → x with some axes resampled."""
    from tvm import relax

    from ...operators.resample import resample

    x = inputs[0]
    axes = _axes(x, inputs, attrs)
    kind = _text(attrs, "coordinate_transformation_mode", "half_pixel")
    mode = _text(attrs, "mode", "nearest")
    tables, outside = {}, {}
    for number, axis in axes.items():
        if axis.size == axis.results and math.isclose(axis.scale, 1) and (axis.begin, axis.end) == (0, 1):
            continue
        positions = _POSITIONS[kind](np.arange(axis.results, dtype="float32"), axis)
        tables[number] = _nearest(positions, axis, attrs) if mode == "nearest" else _weighted(positions, axis, attrs)
        if kind == "tf_crop_and_resize":
            outside[number] = (positions < 0) | (positions > axis.size - 1)
    if any(axis.results == 0 for axis in axes.values()):
        shape = [axes[n].results if n in axes else int(size) for n, size in enumerate(x.ty.shape)]
        return bb.normalize(relax.op.zeros(shape, str(x.ty.dtype)))
    if not tables:
        return x
    dtype = str(x.ty.dtype)
    mixed = x if mode == "nearest" else bb.normalize(relax.op.astype(x, "float32"))
    mixed = bb.normalize(resample(mixed, tables))
    for number, mask in outside.items():
        where = relax.const(mask.reshape([-1 if n == number else 1 for n in range(len(x.ty.shape))]))
        fill = relax.const(attrs.get("extrapolation_value", 0.0), str(mixed.ty.dtype))
        mixed = bb.normalize(relax.op.where(where, fill, mixed))
    if str(mixed.ty.dtype) == dtype:
        return mixed
    if "int" in dtype:
        limits = np.iinfo(dtype)
        mixed = bb.normalize(relax.op.clip(mixed, float(limits.min), float(limits.max)))
    return bb.normalize(relax.op.astype(mixed, dtype))


def _axes(x: Any, inputs: list[Any], attrs: dict[str, Any]) -> dict[int, _Axis]:
    """The axes that the node names, as it wants them."""
    region, scales, sizes = (_numbers(value) for value in (*inputs[1:], None, None, None)[:3])
    shape = [int(size) for size in x.ty.shape]
    numbers = [int(a) % len(shape) for a in attrs.get("axes", range(len(shape)))]
    if sizes.size:
        ratios = [float(size) / shape[n] for n, size in zip(numbers, sizes, strict=True)]
        policy = _text(attrs, "keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            ratios = [min(ratios) if policy == "not_larger" else max(ratios)] * len(ratios)
            sizes = np.array([int(ratio * shape[n] + 0.5) for n, ratio in zip(numbers, ratios, strict=True)])
    elif scales.size:
        ratios = [float(scale) for scale in scales]
        sizes = np.array([int(np.float32(shape[n]) * np.float32(s)) for n, s in zip(numbers, scales, strict=True)])
    else:
        raise ValueError("neither its scales nor its sizes are constant")
    regions = [(0.0, 1.0)] * len(numbers)
    if _text(attrs, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        regions = list(zip(region[: len(numbers)].tolist(), region[len(numbers) :].tolist(), strict=True))
    made = zip(numbers, sizes, ratios, regions, strict=True)
    return {n: _Axis(shape[n], int(size), ratio, *bounds) for n, size, ratio, bounds in made}


def _numbers(value: Any) -> Array:
    """A constant's; none of an input that is left out."""
    from tvm import ir, relax

    if value is None:
        return np.zeros(0)
    if isinstance(value, relax.ShapeExpr):
        return np.array([int(size) for size in value.values])
    if not isinstance(value, ir.GenericConst):
        raise ValueError("its scales, sizes or region are not constant")
    return np.asarray(value.value.numpy()).reshape(-1)


def _text(attrs: dict[str, Any], name: str, default: str) -> str:
    value = attrs.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


# Where each result lies on the axis, in float32 like onnxruntime.


def _half_pixel(i: Array, axis: _Axis) -> Array:
    return (i + np.float32(0.5)) / np.float32(axis.scale) - np.float32(0.5)


def _pytorch_half_pixel(i: Array, axis: _Axis) -> Array:
    return _half_pixel(i, axis) if axis.results > 1 else np.zeros_like(i)


def _half_pixel_symmetric(i: Array, axis: _Axis) -> Array:
    adjusted = np.float32(axis.results) / (np.float32(axis.scale) * np.float32(axis.size))
    offset = axis.size / 2 * (1 - float(adjusted))
    return (offset + (i + 0.5).astype("float64") / float(np.float32(axis.scale)) - 0.5).astype("float32")


def _asymmetric(i: Array, axis: _Axis) -> Array:
    return i / np.float32(axis.scale)


def _align_corners(i: Array, axis: _Axis) -> Array:
    return i * np.float32(axis.size - 1) / np.float32(axis.results - 1) if axis.results > 1 else np.zeros_like(i)


def _crop(i: Array, axis: _Axis) -> Array:
    last = np.float32(axis.size - 1)
    if axis.results == 1:
        return np.full_like(i, 0.5 * (axis.begin + axis.end) * last)
    part = np.float32(axis.end) - np.float32(axis.begin)
    return np.float32(axis.begin) * last + i * part * last / np.float32(axis.results - 1)


_POSITIONS: dict[str, Any] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "asymmetric": _asymmetric,
    "align_corners": _align_corners,
    "tf_crop_and_resize": _crop,
}

_TIE = np.float32(1e-6)  # how far a position may be off a half that a float32 scale missed
_ROUND: dict[str, Any] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5) - _TIE),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5) + _TIE),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _nearest(positions: Array, axis: _Axis, attrs: dict[str, Any]) -> tuple[Array, None]:
    places = _ROUND[_text(attrs, "nearest_mode", "round_prefer_floor")](positions)
    return np.clip(places, 0, axis.size - 1).astype("int32")[:, None], None


def _weighted(positions: Array, axis: _Axis, attrs: dict[str, Any]) -> tuple[Array, Array]:
    """Places and weights of linear and cubic interpolation; a shrinking filter is stretched against aliasing."""
    cubic = _text(attrs, "mode", "linear") == "cubic"
    reach = 2 if cubic else 1
    stretch = min(axis.scale, 1.0) if attrs.get("antialias", 0) else 1.0
    wide = math.floor(-reach / stretch) + 1
    exact = positions.astype("float64") if cubic or stretch < 1 else np.clip(positions, 0, axis.size - 1)
    base = np.floor(exact).astype("int64")
    places = base[:, None] + np.arange(wide, 2 - wide if stretch < 1 else reach + 1)
    away = np.abs(places - exact[:, None]) * stretch
    weights = _cubic(away, attrs.get("cubic_coeff_a", -0.75)) if cubic else np.clip(1 - away, 0, 1)
    if attrs.get("exclude_outside", 0):
        weights = np.where((places < 0) | (places >= axis.size), 0, weights)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(places, 0, axis.size - 1), weights


def _cubic(away: Array, a: float) -> Array:
    near = ((a + 2) * away - (a + 3)) * away**2 + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.where(away <= 1, near, np.where(away < 2, far, 0))
