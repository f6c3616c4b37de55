"""Dropout outside of training, or of nothing; TVM's converter makes a mask of another type."""

from __future__ import annotations

from typing import Any


def dropout(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x, ratio, training mode (constants) → x, and a mask that keeps everything, if it is asked for."""
    from tvm import ir, relax

    x, ratio, training = (*inputs, None, None)[:3]
    drops = training is not None
    for value in (ratio, training):
        if isinstance(value, ir.GenericConst) and not value.value.numpy().any():
            drops = False
    if drops:
        raise ValueError("it drops elements at random, for training; export the model for inference")
    if len(node.output) < 2 or not node.output[1]:
        return x
    return relax.Tuple([x, bb.normalize(relax.op.ones(x.ty.shape, "bool"))])
