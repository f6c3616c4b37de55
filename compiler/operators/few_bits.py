"""Products with weights of 4 or 8 bits, which become floats as they are read."""

from __future__ import annotations

from typing import Any

from tvm import relax

from .define import define

FEW_BITS = "edgec.few_bits"


def few_bits(data: Any, weight: Any, scale: Any, zero: Any | None, bits: int) -> Any:
    """A Relax expression: data [..., I] · ((weight - zero) · scale) → [..., O], of float32.

    Args:
        weight: constant, int8 [I, O]; of 4 bits, -8 to 7.
        scale: constant, float32 [G, O]; each row for I / G rows of the weights.
        zero: constant, int8 [G, O]; None for zeros.
        bits: 4 or 8, in which the artifact holds a weight.
    """
    return _call(data, weight, scale, *([] if zero is None else [zero]), bits=bits)


def _infer_type(call: Any) -> Any:
    data, weight = (arg.ty for arg in call.args[:2])
    return relax.TensorType([*(int(d) for d in list(data.shape)[:-1]), int(weight.shape[1])], str(data.dtype))


_call = define(FEW_BITS, _infer_type)
