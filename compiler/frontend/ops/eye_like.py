"""EyeLike; TVM's converter wants the result's type to be the input's."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto


def eye_like(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [rows, columns] → ones on the diagonal that lies `k` above the main one, of type `dtype` or else x's."""
    from tvm import relax

    from ..convert import dtype_name

    (x,) = inputs
    rows, columns = (int(size) for size in x.ty.shape)
    dtype = dtype_name(attrs["dtype"]) if attrs.get("dtype", TensorProto.UNDEFINED) else str(x.ty.dtype)
    steps = [bb.emit(relax.op.arange(0, size, 1, "int64")) for size in (rows, columns)]
    down, across = (bb.emit(relax.op.expand_dims(step, axis)) for step, axis in zip(steps, (1, 0), strict=True))
    ahead = bb.emit(relax.op.subtract(across, down))
    hit = bb.emit(relax.op.equal(ahead, relax.const(int(attrs.get("k", 0)), "int64")))
    return bb.normalize(relax.op.astype(hit, dtype))
