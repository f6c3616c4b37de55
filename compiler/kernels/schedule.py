"""Schedules tensor programs for a target: an ordered list of rules, the first that takes a program wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..target import Target
from .generic import schedule_blocks, schedule_injective
from .infinity import begin_with_infinity
from .limits import Limits, limits_of
from .overlap import overlap_tiles
from .packed import schedule_packed
from .tile import schedule_tile

Rule = Callable[[Any, Limits], bool]

RULES: tuple[tuple[str, Rule], ...] = (
    ("packed", schedule_packed),
    ("injective", schedule_injective),
    ("tile", schedule_tile),
    ("blocks", schedule_blocks),
)

UNSCHEDULED = "none"  # the rule's name for a program that runs as written


@dataclass(frozen=True)
class Scheduled:
    """A scheduled program.

    Attributes:
        func: the tensor program.
        rule: the rule that took it; `none` if it runs as written.
        reason: why no rule took it, if so.
    """

    func: Any
    rule: str
    reason: str | None = None


def schedule(func: Any, target: Target) -> Scheduled:
    """Applies the first rule that fits `func`, a TIR PrimFunc of static shapes."""
    from tvm import s_tir

    limits = limits_of(target)
    reason = "no rule takes it"
    for name, rule in RULES:
        sch = s_tir.Schedule(func, debug_mask="none")
        try:
            if rule(sch, limits):
                return Scheduled(begin_with_infinity(overlap_tiles(sch.mod["main"])), name)
        except (s_tir.ScheduleError, ValueError) as error:
            reason = f"rule {name}: " + (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Scheduled(func, UNSCHEDULED, reason)
