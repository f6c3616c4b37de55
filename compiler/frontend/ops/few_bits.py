"""Products with weights of few bits, which `frontend/few_bits.py` finds."""

from __future__ import annotations

from typing import Any


def few_bits(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [..., I], weights int8 [I, O], scales [G, O], zero points int8 [G, O] or None → [..., O]."""
    from ...operators.few_bits import few_bits as call

    return bb.normalize(call(*inputs[:3], inputs[3] if len(inputs) > 3 else None, bits=int(attrs["bits"])))
