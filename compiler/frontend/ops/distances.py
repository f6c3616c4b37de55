"""Distances between rows and points, which distances.py of the frontend makes."""

from __future__ import annotations

from typing import Any


def distances(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [N, K], points [K, P] → [N, P]."""
    from ...operators.distances import distances as call

    return bb.normalize(call(inputs[0], inputs[1], int(attrs["power"])))
