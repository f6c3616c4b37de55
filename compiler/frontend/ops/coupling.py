"""Probabilities of classes from those of pairs, which the body of SVMClassifier asks for."""

from __future__ import annotations

from typing import Any


def coupling(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """pairs [N, C (C - 1) / 2] → [N, C]."""
    from ...operators.coupling import coupling as call

    return bb.normalize(call(inputs[0], int(attrs["shape0"][1])))
