"""ReduceLogSumExp; TVM's converter makes NaN of rows whose largest element is infinite."""

from __future__ import annotations

from typing import Any


def reduce_log_sum_exp(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, axes (constant, optional) → log Σ eˣ along them; the largest element is taken out, as eˣ overflows."""
    from tvm import ir, relax

    given, axes = (*inputs, None)[:2]
    if axes is not None and not isinstance(axes, ir.GenericConst):
        raise ValueError("its axes are not constant")
    stated = attrs.get("axes", ()) if axes is None else axes.value.numpy()
    numbers = [int(axis) for axis in stated] or list(range(len(given.ty.shape)))
    if len(stated) == 0 and attrs.get("noop_with_empty_axes", 0):
        return given
    dtype = str(given.ty.dtype)
    # Integers in float64, and what 16 bits cannot hold in 32.
    wide = dtype if dtype in ("float32", "float64") else "float32" if "float" in dtype else "float64"
    x = given if dtype == wide else bb.emit(relax.op.astype(given, wide))
    largest = bb.emit(relax.op.max(x, numbers, keepdims=True))
    largest = bb.emit(relax.op.where(bb.emit(relax.op.isinf(largest)), relax.const(0, wide), largest))
    total = bb.emit(relax.op.sum(bb.emit(relax.op.exp(bb.emit(relax.op.subtract(x, largest)))), numbers, keepdims=True))
    made = bb.emit(relax.op.add(bb.emit(relax.op.log(total)), largest))
    if not attrs.get("keepdims", 1):
        made = bb.emit(relax.op.squeeze(made, numbers))
    return made if dtype == wide else bb.normalize(relax.op.astype(made, dtype))
