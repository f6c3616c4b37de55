"""Forests, which bodies/trees.py makes of tree ensembles."""

from __future__ import annotations

from typing import Any


def forest(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """x [N, F] and the tables of operators/forest.py → [N, C]."""
    from ...operators.forest import forest as call

    numbers = {name: int(attrs[name]) for name in ("feature_bits", "mixed", "shallow")}
    return bb.normalize(call(inputs[0], inputs[1:], aggregate=attrs["aggregate"].decode(), **numbers))
