"""Det, which TVM does not convert."""

from __future__ import annotations

from typing import Any


def determinant(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [..., n, n] → [...]."""
    from ...operators.determinant import determinant as call

    return bb.normalize(call(inputs[0]))
