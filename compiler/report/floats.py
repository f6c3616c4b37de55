"""Lines on the products of a quantised model that are computed with floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SHOWN = 3


def float_lines(found: Sequence[Mapping[str, str]] | None) -> list[str]:
    """A line for each reason.

    Args:
        found: node and reason of each, as in manifests.
    """
    reasons: dict[str, list[str]] = {}
    for product in found or ():
        reasons.setdefault(product["reason"], []).append(product["node"])
    lines = []
    for reason, nodes in reasons.items():
        more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
        lines.append(f"in floats    {', '.join(nodes[:_SHOWN])}{more}: {reason}")
    return lines
