"""ReduceMax and ReduceMin of bools, which TVM does not reduce."""

from __future__ import annotations

from typing import Any


def extremum(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, axes (constant, optional) → the largest or smallest elements along them."""
    from tvm import ir, relax

    x, axes = (*inputs, None)[:2]
    if axes is not None and not isinstance(axes, ir.GenericConst):
        raise ValueError("its axes are not constant")
    numbers = attrs.get("axes") if axes is None else [int(axis) for axis in axes.value.numpy()]
    if not numbers and attrs.get("noop_with_empty_axes", 0):
        return x
    dtype = str(x.ty.dtype)
    reduce = relax.op.max if node.op_type == "ReduceMax" else relax.op.min
    if dtype == "bool":
        x = bb.emit(relax.op.astype(x, "uint8"))
    made = bb.emit(reduce(x, list(numbers) if numbers else None, bool(attrs.get("keepdims", 1))))
    return bb.normalize(relax.op.astype(made, dtype)) if dtype == "bool" else made
