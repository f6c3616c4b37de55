"""EyeLike; TVM's converter has no other type than the input's."""

from __future__ import annotations

from typing import Any


def eye_like(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [n, m] → ones on the diagonal `k`, zeros elsewhere, of type `dtype` or x's."""
    from tvm import relax

    from ..convert import dtype_name

    (x,) = inputs
    dtype = dtype_name(attrs["dtype"]) if "dtype" in attrs else str(x.ty.dtype)
    rows, columns = (int(size) for size in x.ty.shape)
    row = relax.op.expand_dims(bb.normalize(relax.op.arange(0, rows, 1, "int32")), 1)
    column = bb.normalize(relax.op.arange(attrs.get("k", 0) * -1, columns - attrs.get("k", 0), 1, "int32"))
    return bb.normalize(relax.op.astype(bb.normalize(relax.op.equal(bb.normalize(row), column)), dtype))
