"""Max, Min, Sum and Mean of tensors, pair by pair; TVM's converters put all into one tensor, which they reduce."""

from __future__ import annotations

from functools import reduce
from typing import Any


def of_several(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """Tensors that broadcast with each other → one of their type."""
    from tvm import relax

    of_two = {"Max": relax.op.maximum, "Min": relax.op.minimum}.get(node.op_type, relax.op.add)
    made = reduce(lambda one, other: bb.emit(of_two(one, other)), inputs)
    if node.op_type == "Mean" and len(inputs) > 1:
        made = bb.emit(relax.op.divide(made, relax.const(float(len(inputs)), str(made.ty.dtype))))
    return made
