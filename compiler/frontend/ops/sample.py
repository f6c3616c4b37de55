"""Samples of images, which grid_sample.py of the frontend makes."""

from __future__ import annotations

from typing import Any


def sample(bb: Any, node: Any, inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """data [batch, *sizes, channels], places and weights [batch, results] of each tap → [batch, results, channels]."""
    from ...operators.sample import sample as call

    taps = [int(count) for count in attrs["taps"]]
    data, *given = inputs
    return bb.normalize(call(data, taps, given[: sum(taps)], given[sum(taps) :]))
