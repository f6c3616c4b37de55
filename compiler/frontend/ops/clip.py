"""Clip; TVM's converter writes finished kernels, which no layout or fusion pass can look into."""

from __future__ import annotations

import math
from typing import Any


def clip(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, lowest, highest (both scalars, both optional) → x's type; a bound that is NaN bounds nothing."""
    from tvm import relax

    x, low, high = (*inputs, None, None)[:3]
    dtype = str(x.ty.dtype)
    known = [_scalar(bound) for bound in (low, high)]
    if "float" in dtype and None not in known and known[0] <= known[1]:  # type: ignore[operator]
        return bb.normalize(relax.op.clip(x, *known))
    for bound, apply in ((low, relax.op.maximum), (high, relax.op.minimum)):
        value = _scalar(bound)
        if bound is None or (value is not None and math.isnan(value)):
            continue
        if value is None and "float" in dtype:
            unbounded = relax.const(-math.inf if bound is low else math.inf, dtype)
            bound = bb.emit(relax.op.where(bb.emit(relax.op.isnan(bound)), unbounded, bound))
        x = bb.emit(apply(x, bound))
    return x


def _scalar(bound: Any) -> float | None:
    """The value of a constant bound; None for one that is left out or computed."""
    from tvm import ir

    if not isinstance(bound, ir.GenericConst):
        return None
    return float(bound.value.numpy().reshape(()))
