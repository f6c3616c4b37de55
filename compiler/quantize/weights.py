"""Weights as signed 8-bit integers and scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# -128 is left out: the range is symmetric, and sums of products of it and of uint8 are smaller.
LIMIT = 127

# Weights → by channel, how many times they are what they may be at most.
Limit = Callable[[Array], Array]
# Scales [n] → scales that are to be used instead, no smaller.
Choose = Callable[[Array], Array]
_FINER = 1 + 2.0**-9  # by which steps grow until what they are rounded to keeps to a limit
_MOST_NOISE = 1.25  # times that of the least scales, which chosen ones may add


def quantize_weights(
    weights: Array, axis: int | None, limit: Limit | None = None, choose: Choose | None = None
) -> tuple[Array, Array]:
    """Integers of -127 to 127 (int8) and scales (float32): weights ≈ integers * scales.

    Args:
        axis: a scale for each place along it, [n]; None for one of all, [].
        limit: what the integers keep to besides; the scales are as small as it lets them be.
        choose: of scales that are large enough, those to use; only with several, and only if that adds little noise.
    """
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    least = np.abs(weights).max(others, keepdims=True) / LIMIT
    if limit is not None:
        least = np.maximum(least, _by_scale(limit(weights), least))
    # Weights that are all tiny are zeros: a scale must be a number that products with it do not lose.
    scales = np.where(least > np.finfo(np.float32).tiny, least, 1).astype(np.float32)
    while True:
        if choose is not None and axis is not None:
            scales = _better(weights, scales, choose(scales.reshape(-1)).reshape(scales.shape))
        integers = np.clip(np.rint(weights / scales), -LIMIT, LIMIT).astype(np.int8)
        if limit is None or not (beyond := _by_scale(limit(integers), scales) > 1).any():
            return integers, scales.reshape(() if axis is None else -1)
        scales[beyond] *= np.float32(_FINER)


def _better(weights: Array, scales: Array, chosen: Array) -> Array:
    """The chosen scales, or those that are there if they suit the weights much better: weights that were integers once,
    as of models that are quantised already, are not rounded at all by theirs."""

    def noise(steps: Array) -> float:
        return float(np.square(np.rint(weights / steps) * steps - weights, dtype=np.float64).sum())

    return chosen if noise(chosen) <= _MOST_NOISE * noise(scales) else scales


def rounded_weights(weights: Array, axis: int | None, limit: Limit | None = None) -> Array:
    """What the integers stand for, float32 of the weights' shape."""
    return dequantized(*quantize_weights(weights, axis, limit), axis)


def dequantized(integers: Array, scales: Array, axis: int | None) -> Array:
    """What integers of `quantize_weights` stand for, float32 of their shape."""
    shape = [1] * integers.ndim
    if axis is not None:
        shape[axis] = -1
    return np.asarray(integers * scales.reshape(shape), np.float32)


def _by_scale(factors: Array, scales: Array) -> Array:
    """Numbers by channel in the form of the scales, of which one may be for all channels."""
    return np.reshape(factors.max(initial=0) if scales.size == 1 else factors, scales.shape)
