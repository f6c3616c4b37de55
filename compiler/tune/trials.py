"""Compiles schedules and measures them: the two halves of each step of a search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ..build.cache import Cache
from ..build.objects import CompiledKernel, compile_kernels
from ..files import scratch_folder
from ..kernels.rule import Decision
from ..target import Target
from .boards import Board, BoardError, Times
from .fleet import Fleet
from .kernel import KernelSearch
from .records import THROTTLED, Record
from .trial import Group, build_trial

# Results may differ by the order of sums; by more than this share of the largest, they are wrong.
_TOLERANCE = 2e-5
_TOLERANCE_OF_16_BITS = 2e-2


@dataclass(frozen=True)
class Plan:
    """Schedules of one kernel that are measured together, after its default."""

    search: KernelSearch
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Settings:
    """How trials are run.

    Attributes:
        scrub: bytes that the model reads and writes between two calls of a kernel.
        rounds: of a trial.
        seconds: that a trial may run.
    """

    target: Target
    scrub: int
    rounds: int = 15
    seconds: float = 2.0


def run_plans(
    plans: Sequence[Plan],
    settings: Settings,
    fleet: Fleet,
    cache: Cache | None,
    keep: Callable[[Sequence[Record]], None] = lambda records: None,
) -> list[list[Record]]:
    """Compiles all schedules on all cores, then measures them: on one board in one trial, on several in one a plan.

    A trial of several plans that fails is taken apart, so that a schedule that crashes spoils only its own plan.

    Args:
        keep: gets a plan's records as soon as it is measured, while others still are.

    Returns:
        For each plan, a record for each of its schedules. Those that do not fit the program, or give wrong results,
        have no time.

    Raises:
        LostError: no board is left.
    """
    start = time.perf_counter()
    programs, decisions = {}, {}
    for number, plan in enumerate(plans):
        programs[f"{number}"] = plan.search.workload.program
        for place, decision in enumerate(plan.decisions):
            programs[f"{number}_{place}"] = plan.search.workload.program
            decisions[f"{number}_{place}"] = decision
    kernels = compile_kernels(programs, settings.target, cache, decisions).kernels
    made = []
    for number, plan in enumerate(plans):
        compiled = [kernels[f"{number}_{place}"] for place in range(len(plan.decisions))]
        made.append(_Outcome(plan, kernels[f"{number}"], compiled))

    done: dict[str, list[Record]] = {}

    def finish(outcome: _Outcome) -> None:
        records = done[outcome.plan.search.workload.key] = outcome.records(settings, fleet.threads)
        keep(records)

    def work(outcomes: list[_Outcome], board: Board) -> None:
        _measure(outcomes, settings, fleet, board, cache)
        for outcome in outcomes:
            finish(outcome)

    def give_up(outcomes: list[_Outcome], reason: str) -> None:
        outcomes[0].fail(reason)
        finish(outcomes[0])

    if len(fleet.boards) == 1 and len(made) > 1:
        fleet.run([made], work, lambda outcomes, reason: None)
    alone = [[outcome] for outcome in made if outcome.times is None]
    fleet.run(alone, work, give_up)
    spent = time.perf_counter() - start
    for plan in plans:
        plan.search.cost = spent / len(plans)
    return [done[plan.search.workload.key] for plan in plans]


def _measure(outcomes: Sequence[_Outcome], settings: Settings, fleet: Fleet, board: Board, cache: Cache | None) -> None:
    groups = [outcome.group for outcome in outcomes]
    with scratch_folder("trial") as folder:
        path = build_trial(groups, settings.scrub, settings.target, folder, cache)
        seconds = settings.seconds * len(groups)
        measured = fleet.measure(board, lambda: board.measure(path, settings.rounds, seconds))
    if [len(times.differences) for times in measured] != [len(group.kernels) for group in groups]:
        raise BoardError("an answer to another trial")
    for outcome, times in zip(outcomes, measured, strict=True):
        outcome.take(times)


class _Outcome:
    """What becomes of a plan."""

    def __init__(self, plan: Plan, default: CompiledKernel, kernels: Sequence[CompiledKernel]) -> None:
        self.plan = plan
        self.failures: dict[int, str] = {}  # by place among the decisions
        for place, (decision, kernel) in enumerate(zip(plan.decisions, kernels, strict=True)):
            if (kernel.rule, kernel.parameters) != (decision.rule, {**kernel.parameters, **decision.parameters}):
                self.failures[place] = kernel.failures.get(decision.rule, "the rule does not take it")
        self.good = [place for place in range(len(kernels)) if place not in self.failures]
        self.group = Group(plan.search.workload, [default, *(kernels[place] for place in self.good)])
        self.times: Times | None = None

    def take(self, times: Times) -> None:
        search = self.plan.search
        self.times, search.base = times, times.median(0)
        limit = _TOLERANCE_OF_16_BITS if "16" in str(search.work["dtype"]) else _TOLERANCE
        for place, difference in zip(self.good, times.differences[1:], strict=True):
            if not difference <= limit:
                self.failures[place] = f"its results differ by {difference:.2g}"

    def fail(self, reason: str) -> None:
        for place in self.good:
            self.failures[place] = reason

    def records(self, settings: Settings, threads: int) -> list[Record]:
        search, made = self.plan.search, []
        for place, decision in enumerate(self.plan.decisions):
            seconds = spread = math.inf
            failure = "".join(filter(str.isprintable, self.failures.get(place, "")))[:120]
            if not failure and self.times is not None:
                column = self.good.index(place) + 1
                # By the default's time in the same rounds: what changes the machine's speed changes both.
                seconds, spread = search.base * self.times.ratio(column), self.times.spread(column)
            record = Record(
                kind="trial",
                workload=search.workload.key,
                work=search.work,
                target=settings.target.name,
                fingerprint=settings.target.fingerprint,
                decision=decision,
                seconds=seconds,
                spread=spread,
                base=search.base,
                rounds=0 if self.times is None else len(self.times.seconds),
                threads=threads,
                date=now(),
                source=THROTTLED if self.times is not None and self.times.heat.throttled else "measured",
                failure=failure,
            )
            made.append(record)
        return made


def now() -> str:
    """The date of records."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
