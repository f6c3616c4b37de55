"""TensorScatter, which TVM does not convert."""

from __future__ import annotations

from typing import Any


def tensor_scatter(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """cache, update, begins [batch] (optional) → the cache, overwritten along `axis` from each batch's begin on.

    In mode `circular` what goes beyond the end goes on at the front.
    """
    from tvm import relax

    cache, update, begins = (*inputs, None)[:3]
    shape = [int(size) for size in update.ty.shape]
    axis = attrs.get("axis", -2) % len(shape)
    steps = bb.emit(relax.op.arange(0, shape[axis], 1, "int64"))
    places = bb.emit(relax.op.reshape(steps, [-1 if n == axis else 1 for n in range(len(shape))]))
    if begins is not None:
        begins = bb.emit(relax.op.reshape(begins, [-1] + [1] * (len(shape) - 1)))
        places = bb.emit(relax.op.add(places, begins))
    if attrs.get("mode", b"linear") == b"circular":
        places = bb.emit(relax.op.floor_mod(places, relax.const(int(cache.ty.shape[axis]), "int64")))
    places = bb.emit(relax.op.broadcast_to(places, shape))
    return bb.normalize(relax.op.scatter_elements(cache, places, update, axis))
