"""ReverseSequence, which TVM does not convert."""

from __future__ import annotations

from typing import Any


def reverse_sequence(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, lengths [batch] → x with each sequence, the first elements along the time axis, turned round."""
    from tvm import relax

    x, lengths = inputs
    shape = [int(size) for size in x.ty.shape]
    batch, time = attrs.get("batch_axis", 1), attrs.get("time_axis", 0)
    steps = bb.emit(relax.op.arange(0, shape[time], 1, "int64"))
    steps = bb.emit(relax.op.reshape(steps, [-1 if n == time else 1 for n in range(len(shape))]))
    ends = bb.emit(relax.op.astype(lengths, "int64"))
    ends = bb.emit(relax.op.reshape(ends, [-1 if n == batch else 1 for n in range(len(shape))]))
    turned = bb.emit(relax.op.subtract(bb.emit(relax.op.subtract(ends, relax.const(1, "int64"))), steps))
    places = bb.emit(relax.op.where(bb.emit(relax.op.less(steps, ends)), turned, steps))
    return bb.normalize(relax.op.gather_elements(x, bb.emit(relax.op.broadcast_to(places, shape)), time))
