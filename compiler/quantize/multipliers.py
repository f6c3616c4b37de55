"""Weights' scales with which the multipliers of sums, by channel, are short numbers.

A product's sums are multiplied by data's scale · weights' scale / results' scale, 32 bits a channel beside weights of
8. With scales that are a little larger, 0.4 % on average, bfloat16 holds the multipliers; the other 16 bits are zeros,
which artifacts do not store. The integers are rounded to the scales that are chosen: nothing is approximated later.
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx

from .graphs import Array, Graph

# What a product's sums pass on their way to a QuantizeLinear whose scale they are divided by at once.
_ON_THE_WAY = frozenset(("Add", "Clip", "LeakyRelu", "PRelu", "Relu"))
_CANDIDATES = 8  # multipliers that are tried, each larger than the one before
_MOST = 1.07  # times the least scale
# Bits behind the point of every multiplier that is chosen, at least: with fewer, many sums would lie exactly between
# two results, where each runtime's rounding errors decide.
_LEAST_FRACTION = 13
_NEIGHBOURS = (0, 1, -1, 2, -2)  # of a scale among the float32 numbers


def stored_result(graph: Graph, node: onnx.NodeProto, stored: Mapping[str, str]) -> str | None:
    """The tensor of 8 bits that a product's sums end in; None if something else comes first."""
    name: str = node.output[0]
    while name not in stored:
        users = graph.users[name]
        if name in graph.outputs or len(users) != 1 or users[0].op_type not in _ON_THE_WAY:
            return None
        name = users[0].output[0]
    return name


def short_scales(least: Array, data: Array, result: Array) -> Array:
    """Weights' scales, no smaller than `least` but for its last digits, with multipliers that bfloat16 holds.

    Args:
        least: float32 [channels], above zero.
        data: scale of the data, float32 [].
        result: scales of the results, float32 [] or [channels].

    Returns:
        float32 [channels]; where no such scale is near, that of `least`.
    """
    chosen: Array = least.copy()
    left = np.ones(least.shape, bool)
    with np.errstate(all="ignore"):
        bits = (data * least / result).view(np.uint32)
        for more in range(_CANDIDATES):
            wanted = ((bits + 0xFFFF >> 16) + np.uint32(more) << 16).astype(np.uint32).view(np.float32)
            near = (wanted.astype(np.float64) * result / data).astype(np.float32).view(np.int32)
            for step in _NEIGHBOURS:
                scales = (near + np.int32(step)).view(np.float32)
                near_least = (scales >= least * np.float32(1 - 1e-6)) & (scales <= least * np.float32(_MOST))
                fine = np.ldexp(wanted, _LEAST_FRACTION - 1) % 1 != 0
                found = left & fine & near_least & (data * scales / result == wanted)
                chosen[found] = scales[found]
                left &= ~found
    return chosen


def as_bfloat16(value: Array) -> Array:
    """float32 numbers, the nearest that bfloat16 holds; if it does not hold all of them, as they are."""
    with np.errstate(all="ignore"):
        short = value.astype(ml_dtypes.bfloat16).astype(np.float32)
    return short if np.isfinite(short).all() else value.astype(np.float32)
