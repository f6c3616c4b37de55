"""InstanceNormalization, of which TVM makes seven operators."""

from __future__ import annotations

from typing import Any


def instance_normalization(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [images, channels, d0…], scale [channels], bias [channels] → x with every channel normalised."""
    from tvm import relax

    from ...operators.group_norm import group_norm

    x, scale, bias = inputs
    dtype, channels = str(x.ty.dtype), int(x.ty.shape[1])
    if dtype not in ("float32", "float64"):
        x, scale, bias = (bb.normalize(relax.op.astype(value, "float32")) for value in inputs)
    made = bb.normalize(group_norm(x, scale, bias, channels, float(attrs.get("epsilon", 1e-5))))
    return made if str(made.ty.dtype) == dtype else bb.normalize(relax.op.astype(made, dtype))
