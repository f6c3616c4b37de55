"""What a program looks like, in numbers that records keep and the cost model learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import s_tir

from ..kernels.analysis import blocks_of
from ..kernels.cost import Cost
from ..kernels.primitives import Schedule

_AXES = 5


def describe(program: Any, cost: Cost, family: str) -> dict[str, Any]:
    """Features of a canonical tensor program for a record's `work`.

    Args:
        family: the rule that takes it by default; it names the records' file.
    """
    made: dict[str, Any] = {
        "family": family,
        "dtype": cost.dtype,
        "flops": cost.flops,
        "read": cost.bytes_read,
        "written": cost.bytes_written,
    }
    try:
        blocks = blocks_of(Schedule(program))
    except (s_tir.ScheduleError, ValueError):  # written by hand, without blocks
        return made
    made["blocks"] = len(blocks)
    anchor = max(blocks, key=lambda block: block.work, default=None)
    if anchor is not None:
        made["spatial"] = [int(extent) for extent in anchor.spatial][-_AXES:]
        made["reduction"] = [int(extent) for extent in anchor.reduction][-_AXES:]
    return made


def numbers(work: Mapping[str, Any], parameters: Mapping[str, int]) -> dict[str, float]:
    """Features of a schedule of a program, by name; those of other rules are missing."""
    made: dict[str, float] = {}
    for name, value in work.items():
        if isinstance(value, list):
            made |= {f"{name}{len(value) - place}": float(extent) for place, extent in enumerate(value)}
        elif not isinstance(value, str):
            made[name] = float(value)
    made |= {f"parameter {name}": float(value) for name, value in parameters.items()}
    rows, lines = parameters.get("rows"), parameters.get("lines")
    spatial = [1, 1, 1, 1, *(work.get("spatial") or [])]
    if rows and not parameters.get("cut"):
        made["waste"] = _covered(spatial[-3 if lines else -2], rows) * _covered(spatial[-4], lines or 1)
    return made


def _covered(extent: int, size: int) -> float:
    """What overlapping tiles compute of an axis, by what it has."""
    return -(-extent // size) * size / max(extent, 1)
