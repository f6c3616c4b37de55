"""Products with weights of few bits, which `frontend/few_bits.py` finds."""

from __future__ import annotations

from typing import Any


def few_bits(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [..., I], weights int8 [I, O], scales [G, O], zero points int8 [G, O] or None → [..., O]."""
    from ...operators.few_bits import few_bits as call

    data, weight, scale, *zero = inputs
    return bb.normalize(call(data, weight, scale, zero[0] if zero else None, int(attrs["bits"])))
