"""Weights as signed 8-bit integers and scales."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# -128 is left out: the range is symmetric, and sums of products of it and of uint8 are smaller.
LIMIT = 127


def quantize_weights(weights: Array, axis: int | None) -> tuple[Array, Array]:
    """Integers of -127 to 127 (int8) and scales (float32): weights ≈ integers * scales.

    Args:
        axis: a scale for each place along it, [n]; None for one of all, [].
    """
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    largest = np.abs(weights).max(others, keepdims=True)
    # Weights that are all tiny are zeros: a scale must be a number that products with it do not lose.
    scales = np.where(largest / LIMIT > np.finfo(np.float32).tiny, largest / LIMIT, 1).astype(np.float32)
    integers = np.clip(np.rint(weights / scales), -LIMIT, LIMIT).astype(np.int8)
    return integers, scales.reshape(() if axis is None else -1)


def rounded_weights(weights: Array, axis: int | None) -> Array:
    """What the integers stand for, float32 of the weights' shape."""
    integers, scales = quantize_weights(weights, axis)
    shape = [1] * weights.ndim
    if axis is not None:
        shape[axis] = -1
    return np.asarray(integers * scales.reshape(shape), np.float32)
