"""Attention."""

from __future__ import annotations

from .body import Body

BODIES: dict[tuple[str, str], Body] = {}
