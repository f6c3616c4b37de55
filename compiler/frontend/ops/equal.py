"""Equal; TVM compares bools as floats, which LLVM refuses."""

from __future__ import annotations

from typing import Any


def equal(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """a, b of one type → bool."""
    from tvm import relax

    if str(inputs[0].ty.dtype) != "bool":
        return bb.normalize(relax.op.equal(*inputs))
    return bb.normalize(relax.op.logical_not(bb.emit(relax.op.logical_xor(*inputs))))
