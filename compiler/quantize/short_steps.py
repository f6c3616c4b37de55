"""What is computed in a tensor's steps before it is rounded to 8 bits, with constants of few digits.

A batch normalisation that no product takes up, a sum of tensors with scales by channel: the compiler divides their
constants by the scale of the result (frontend/integer_steps.py). What stands in the artifact is the quotient, all of
whose digits matter as little as those of the multipliers of sums. So the quotients are rounded, in the model itself:
what runs it elsewhere computes the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from ..frontend.infer import infer_shapes
from ..frontend.integer_edges import move_edges
from ..frontend.prepare import Model
from .graphs import Array

# Unlike the rounding of values these errors are the same everywhere in a channel, so means do not make them smaller.
_BITS = 10  # of factors: what is off by a thousandth is off by a quarter of a step at the end of the range
_PARTS_OF_STEP = 32  # of which summands are whole numbers


def in_short_steps(model: Model) -> Model:
    """A model from `quantize_model` with its quantisation as near to the products as it can be, and in the steps of
    each 8-bit tensor what makes it, where that costs nothing.

    Float tensors that are in steps have other names.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return replace(model, proto=infer_shapes(proto, model.name)) if move_edges(proto, _shortened) else model


def _shortened(part: str, value: Array) -> Array:
    """A constant in steps; those of one number are part of the code, and stay."""
    if value.size == 1:
        return value
    if part == "summand":
        return np.asarray(np.rint(value * _PARTS_OF_STEP) / _PARTS_OF_STEP)
    if part not in ("factor", "scale"):
        return value
    mantissa, exponent = np.frexp(value)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, _BITS)), exponent - _BITS))
