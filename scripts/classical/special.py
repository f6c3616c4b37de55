"""Models that are made by hand: what no exporter writes, or only sometimes."""

from __future__ import annotations

from .case import Case


def cases() -> list[Case]:
    return []
