"""Sums of powers of differences between all rows of one matrix and all points, the columns of another.

The differences are taken before they are summed, so nothing cancels as it does in x² + p² - 2xp.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from .define import define

DISTANCES = "edgec.distances"


def distances(data: Any, points: Any, power: int) -> Any:
    """A Relax expression: [i, j] = Σ |data[i, k] - points[k, j]| ^ power, of `data` [N, K] and `points` [K, P]."""
    return _call(data, points, power=power)


def distance_term(x: Any, point: Any, power: int) -> Any:
    """What is summed; `power` is 1 or more."""
    difference = x - point
    if power % 2:
        difference = tirx.abs(difference)
    result = difference
    for _ in range(power - 1):
        result = result * difference
    return result


def _infer_type(call: Any) -> Any:
    data, points = (arg.ty for arg in call.args)
    return relax.TensorType([int(data.shape[0]), int(points.shape[1])], str(data.dtype))


def _legalize(builder: relax.BlockBuilder, call: Any) -> Any:
    power = int(call.attrs["power"])

    def compute(x: Any, points: Any) -> Any:
        k = te.reduce_axis((0, x.shape[1]), "k")
        shape = [x.shape[0], points.shape[1]]
        return te.compute(
            shape, lambda i, j: te.sum(distance_term(x[i, k], points[k, j], power), axis=k), name="distances"
        )

    return builder.call_te(compute, *call.args, primfunc_name_hint="distances")


_call = define(DISTANCES, _infer_type, _legalize)
