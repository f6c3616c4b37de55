"""Samples of images: each result is a weighted sum of a few pixels, which it names.

Channels are last: what is computed of places and weights is so once for all channels of a vector.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from .define import define

SAMPLE = "edgec.sample"


def sample(data: Any, taps: Sequence[int], places: Sequence[Any], weights: Sequence[Any]) -> Any:
    """A Relax expression: [batch, results, channels], of the products of the axes' pixels and weights.

    Args:
        data: [batch, *sizes, channels], floats.
        taps: how many pixels there are along each axis.
        places: int32 [batch, results] of each of them, axis by axis; those outside are taken to the axis' ends.
        weights: floats [batch, results] in the same order; none for ones.
    """
    return _call(data, *places, *weights, taps=[int(count) for count in taps])


def _infer_type(call: Any) -> Any:
    data, places = (argument.ty for argument in call.args[:2])
    return relax.TensorType([*places.shape, data.shape[-1]], str(data.dtype))


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    taps = [int(count) for count in call.attrs["taps"]]

    def sampled(data: Any, *given: Any) -> Any:
        sizes = [int(size) for size in data.shape][1:-1]
        places, weights = given[: sum(taps)], given[sum(taps) :]
        starts = [sum(taps[:axis]) for axis in range(len(taps))]

        def element(batch: Any, at: Any, channel: Any) -> Any:
            inside = [
                tirx.min(tirx.max(places[start + tap](batch, at), 0), size - 1)
                for start, count, size in zip(starts, taps, sizes, strict=True)
                for tap in range(count)
            ]
            total = None
            for pixel in itertools.product(*map(range, taps)):
                numbers = [start + tap for start, tap in zip(starts, pixel, strict=True)]
                value = data(batch, *(inside[number] for number in numbers), channel)
                if weights:
                    value = value * functools.reduce(operator.mul, [weights[n](batch, at) for n in numbers])
                total = value if total is None else total + value
            return total

        return te.compute(list(call.ty.shape), element, name="sample")

    # Places and weights are not computed again for each channel; what comes after joins.
    return builder.call_te(sampled, *call.args, primfunc_name_hint="sample", primfunc_attrs={"op_pattern": 4})


_call = define(SAMPLE, _infer_type, _legalize)
