"""Runs a float model over sample data, and counts the values of its tensors."""

from __future__ import annotations

from collections.abc import Iterable

from ..frontend.prepare import Model
from .data import Feeds
from .ranges import Statistics


def observe(model: Model, samples: Iterable[Feeds]) -> Statistics:
    """What sample data show of the tensors that may be quantised.

    Args:
        model: from `float_model`.
    """
    raise NotImplementedError
