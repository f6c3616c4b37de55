"""BitCast, which TVM does not convert."""

from __future__ import annotations

from typing import Any


def bit_cast(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x → its bits as the type `to`."""
    from ...operators.bit_cast import bit_cast as reinterpret
    from ..convert import dtype_name

    dtype = dtype_name(attrs["to"])
    (x,) = inputs
    return x if str(x.ty.dtype) == dtype else bb.normalize(reinterpret(x, dtype))
