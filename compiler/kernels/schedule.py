"""Schedules tensor programs for a target: an ordered list of rules, the first that takes a program wins."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tvm import s_tir

from ..target import Target
from .attention import attention_rule
from .blocks import blocks_rule
from .cost import Cost, cost_of
from .depthwise import depthwise_rule
from .few_bits import few_bits_rule
from .group_norm import group_norm_rule
from .infinity import begin_with_infinity
from .injective import injective_rule
from .limits import limits_of
from .matrix_sums import matrix_sums_rule
from .overlap import overlap_tiles
from .packed import packed_rule
from .partial_sums import partial_sums_rule
from .prefetch import prefetch
from .primitives import Schedule
from .rows import rows_rule
from .rule import ALWAYS, AS_RECKONED, NEVER, SHARED, Decision, Offer, Parameters, Rule
from .sparse import sparse_rule
from .tails import cut_tails
from .tile import tile_rule
from .winograd import winograd_rule
from .written import written_rule

RULES: tuple[tuple[str, Rule], ...] = (
    ("written", written_rule),  # first, as the others fail on programs without blocks
    ("packed", packed_rule),
    ("depthwise", depthwise_rule),
    ("few_bits", few_bits_rule),
    ("partial_sums", partial_sums_rule),
    ("matrix_sums", matrix_sums_rule),
    ("sparse", sparse_rule),
    ("winograd", winograd_rule),
    ("attention", attention_rule),
    ("group_norm", group_norm_rule),
    ("injective", injective_rule),
    ("tile", tile_rule),
    ("rows", rows_rule),
    ("blocks", blocks_rule),
)

# Iterations from which threads share a nest, where that is decided.
_LEAST_WORK = {NEVER: sys.maxsize, ALWAYS: 1}

_FAILURES = (s_tir.ScheduleError, ValueError)

UNSCHEDULED = "none"  # the rule's name for a program that runs as written


@dataclass(frozen=True)
class Scheduled:
    """A scheduled program.

    Attributes:
        func: the tensor program.
        rule: the rule that took it; `none` if it runs as written.
        parameters: the rule's, as they were applied.
        failures: by rule, in order, why those failed that would have taken it before.
    """

    func: Any
    rule: str
    parameters: Parameters = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


def schedule(func: Any, target: Target, decision: Decision | None = None) -> Scheduled:
    """Applies the decided rule, else the first that takes `func`, a TIR PrimFunc of static shapes.

    Args:
        decision: a rule, and values for some or all of its parameters in place of its defaults. Where it does not fit
            the program, or the rule does not offer these values, the others follow with theirs.
    """
    cost = cost_of(func)
    failures: dict[str, str] = {}
    decided = [(decision.rule, decision.parameters)] if decision is not None else []
    sch = None
    for name, parameters in [*decided, *((name, {}) for name, _ in RULES)]:
        try:
            sch = _untouched(sch, func)
            offer = _ask(sch, target, cost, name, parameters.get(SHARED, AS_RECKONED))
            if offer is None:
                continue
            chosen = offer.chosen(parameters)
            offer.apply(chosen)
            scheduled = cut_tails(overlap_tiles(sch.mod["main"]))
            return Scheduled(prefetch(begin_with_infinity(scheduled)), name, chosen, failures)
        except _FAILURES as error:
            failures[name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Scheduled(func, UNSCHEDULED, failures=failures)


def offers(func: Any, target: Target) -> dict[str, Offer]:
    """What each rule that takes `func` offers, in order, to look at: `schedule` applies the first."""
    cost = cost_of(func)
    found = {}
    sch = None
    for name, _ in RULES:
        try:
            sch = _untouched(sch, func)
            offer = _ask(sch, target, cost, name)
        except _FAILURES:
            continue
        if offer is not None:
            found[name] = offer
            sch = None  # the offer's own
    return found


def _untouched(sch: Any, func: Any) -> Any:
    """A schedule of `func`: this one if the rules that had it left it as it was, as most do."""
    return sch if sch is not None and sch.mod["main"].same_as(func) else Schedule(func)


def _ask(sch: Any, target: Target, cost: Cost, name: str, shared: int = AS_RECKONED) -> Offer | None:
    """What a rule offers for a schedule, if its nests are shared by threads as said."""
    limits = limits_of(target, cost, name)
    if shared in _LEAST_WORK:
        limits = replace(limits, parallel_work=_LEAST_WORK[shared])
    offer = dict(RULES)[name](sch, limits)
    if offer is None:
        return None
    default, space = {**offer.default, SHARED: AS_RECKONED}, {**offer.space, SHARED: (NEVER, AS_RECKONED, ALWAYS)}
    return replace(offer, default=default, space=space)
