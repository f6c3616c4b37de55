"""Tunes without the board: ranks schedules by what they execute, estimated, and on request counted in an emulator.

Neither knows of caches, so parameters that are there for them stay as they are. What comes of it is of a kind of its
own among the records: a board's own measurements take its place, and never learn from it.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..build.codegen import lower_kernel
from ..emulation.emulator import Emulator
from ..errors import UserError
from ..files import scratch_folder
from ..frontend.prepare import Model
from ..kernels.instructions import count_instructions
from ..kernels.rule import Decision
from ..kernels.schedule import schedule
from ..pipeline import Options, lower_model
from .counting import ModelCounter
from .features import describe
from .interrupts import Interrupts
from .records import COUNTED, ESTIMATED, STATIC, Log, Record
from .space import Space, distance, space_of
from .trials import SCRATCH
from .workloads import Workload, workloads_of

_MOST_ESTIMATED = 96  # schedules of a kernel
_MOST_COUNTED = 5  # of them, the best, and so many runs of the model
_ESTIMATING = 0.5  # share of the budget, if there is counting after it
_OF_CACHES = ("prefetch",)  # parameters that cost instructions to save time
# What a kernel's and the whole model's cost has to fall to: estimates are wrong by a tenth, counts repeat within 1 %.
_ESTIMATED_GAIN, _COUNTED_GAIN = 0.9, 0.98
_WHOLE_GAIN = 0.99


@dataclass(frozen=True)
class StaticProgress:
    """How far it is.

    Attributes:
        elapsed, budget: seconds.
        kernels, done: whose schedules are estimated, and those that are already.
        estimated, counted: schedules.
    """

    elapsed: float
    budget: float
    kernels: int
    done: int
    estimated: int
    counted: int


@dataclass(frozen=True)
class StaticResult:
    """What came of it.

    Attributes:
        unit: of what follows: `instructions`, counted, or `cycles`, estimated.
        untuned, tuned: of a run of the model; those of its kernels alone.
        verdicts: what is applied from now on, by workload.
        names: of the kernels, by workload.
        estimated, counted: schedules.
        wrong: kernels, some of whose schedules gave other results.
        applied: whether the model is better.
        left: kernels that the time was too short for, or for all schedules of.
    """

    unit: str
    untuned: float
    tuned: float
    verdicts: Mapping[str, Record]
    names: Mapping[str, Sequence[str]]
    estimated: int
    counted: int
    wrong: Sequence[str]
    applied: bool
    left: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        kernels = [
            {"kernel": self.names[key][0], "schedule": record.text, "ratio": record.ratio}
            for key, record in self.verdicts.items()
        ]
        return asdict(replace(self, verdicts={}, names={})) | {"verdicts": kernels}


@dataclass
class _Search:
    """A kernel, and what is known of its schedules.

    Attributes:
        base: what the default costs: cycles; then instructions, if they are counted.
        ranked: schedules that are better than the default as estimated, the best first, with their share of its
            cycles.
        best: the best one so far, with its share.
    """

    workload: Workload
    space: Space
    base: float
    ranked: list[tuple[float, Decision]] = field(default_factory=list)
    best: tuple[float, Decision] | None = None

    def take(self, ratio: float, decision: Decision, least_gain: float) -> None:
        """Remembers a schedule that is the best one, and clearly better than the default."""
        if ratio <= least_gain and (self.best is None or ratio < self.best[0]):
            self.best = (ratio, decision)


def tune_static(
    model: Model,
    options: Options,
    log: Log,
    budget: float,
    emulator: Emulator | None = None,
    report: Callable[[StaticProgress], None] = lambda progress: None,
) -> StaticResult:
    """Looks for schedules that execute less, for about `budget` seconds.

    Args:
        options: of the compilation that is to become better.
        emulator: of the target, which counts instructions; None for estimates alone.

    Raises:
        UserError: the model cannot be compiled, or takes its budget for nothing.
    """
    session = _Session(model, options, log, budget, emulator, report)
    with session.interrupts:
        return session.run()


class _Session:
    def __init__(
        self,
        model: Model,
        options: Options,
        log: Log,
        budget: float,
        emulator: Emulator | None,
        report: Callable[[StaticProgress], None],
    ) -> None:
        self.model, self.log, self.emulator, self.report = model, log, emulator, report
        self.options, self.before = options.without_estimates(), options.estimated
        self.begin, self.budget = time.perf_counter(), budget
        self.searches: list[_Search] = []
        self.estimated = self.counted = self.kernels = self.done = 0
        self.interrupts = Interrupts()
        self.wrong: set[str] = set()
        self.looked: set[str] = set()  # kernels some of whose schedules were counted
        self.estimating = ""  # the kernel that the time was too short to estimate all schedules of

    def run(self) -> StaticResult:
        lowered = lower_model(self.model, replace(self.options, dump=None))
        if self.emulator is not None and lowered.versions[-1].vocabulary:
            raise UserError("instructions of models with strings are not counted", fix="leave out --count-instructions")
        tuned = self.tuned
        workloads = [one for one in workloads_of(lowered.versions, lowered.programs) if one.key not in tuned]
        try:
            self._estimate(workloads)
        except KeyboardInterrupt:  # what is known is enough
            if not self.searches:
                raise
        if not self.searches and self.done < self.kernels:
            raise UserError(f"within {self.budget:.0f} s no schedule was estimated", "--budget", "give more")
        if self.emulator is not None:
            return self._count(self.emulator)
        for search in self.searches:
            for ratio, decision in search.ranked:
                search.take(ratio, decision, _ESTIMATED_GAIN)
        untuned = sum(search.base * search.workload.calls for search in self.searches)
        saved = sum(
            search.base * search.workload.calls * (1 - search.best[0]) for search in self.searches if search.best
        )
        return self._apply("cycles", untuned, untuned - saved, {one.workload.key: one for one in self.searches})

    @property
    def tuned(self) -> set[str]:
        """Kernels whose schedule was found in a better way already: by measuring, or by counting where we estimate."""
        if self.emulator is not None:
            return set(self.options.decisions)
        newest = {one.workload: one for one in self.log.read(STATIC) if one.applies_to(self.options.target)}
        counted = {key for key, one in newest.items() if one.source == COUNTED and one.decision is not None}
        return counted | self.options.decisions.keys()

    def _estimate(self, workloads: Sequence[Workload]) -> None:
        """Ranks schedules, of the kernels with most work first."""
        self.kernels = len(workloads)
        deadline = self.begin + (_ESTIMATING if self.emulator is not None else 1.0) * self.budget
        rng = random.Random(0)
        for workload in sorted(workloads, key=lambda one: -one.calls * one.cost.flops):
            if time.perf_counter() > deadline:
                break
            space = space_of(workload.program, self.options.target)
            usual = self._cost(workload, space.default) if space is not None else None
            if space is not None and usual is not None:
                search = _Search(workload, space, usual[0])
                costs = []
                for decision in _candidates(space, rng):
                    if time.perf_counter() > deadline:
                        self.estimating = workload.key
                        break
                    costs.append((self._cost(workload, decision), decision))
                # No more of either: a model of pipes is wrong more easily than a count, which knows no pipes.
                better = [(cost, one) for cost, one in costs if cost and cost[0] <= usual[0] and cost[1] <= usual[1]]
                better.sort(key=lambda one: one[0][1 if self.emulator is not None else 0])
                search.ranked = [(cost[0] / usual[0], decision) for cost, decision in better]
                self.searches.append(search)
            self.done += not self.estimating
            self._tell(self.kernels)

    def _cost(self, workload: Workload, decision: Decision) -> tuple[float, float] | None:
        """Cycles and instructions of a call, estimated; None if the schedule does not fit the program."""
        self.interrupts.check()
        target = self.options.target
        try:
            made = schedule(workload.program, target, decision)
            if (made.rule, made.parameters) != (decision.rule, {**made.parameters, **decision.parameters}):
                return None
            count = count_instructions(lower_kernel(made.func, "kernel", target), target)
        except (RuntimeError, ValueError):  # TVM's errors are RuntimeErrors
            return None
        self.estimated += 1
        return count.cycles(target), count.total

    def _count(self, emulator: Emulator) -> StaticResult:
        """Runs the model with the best schedules of all kernels, the second best, and so on; then with the winners."""
        with scratch_folder(SCRATCH) as folder:
            counter = ModelCounter(self.model, self.options, emulator, [one.workload for one in self.searches], folder)
            known = {one.workload.key: one for one in self.searches if counter.base.get(one.workload.key)}
            with contextlib.suppress(KeyboardInterrupt):
                for place in range(_MOST_COUNTED):
                    tried = {key: one.ranked[place][1] for key, one in known.items() if place < len(one.ranked)}
                    if not tried or time.perf_counter() - self.begin > self.budget:
                        break
                    self.interrupts.check()
                    self._round(counter, tried, known)
                    self._tell(len(self.searches))
            for key, search in known.items():
                search.base = counter.base[key] / search.workload.calls
            winners = {key: one.best[1] for key, one in known.items() if one.best}
            final = counter.count(winners) if winners else counter.base
            if final is None:
                self.wrong |= set(winners)
                known, final = {}, counter.base
        return self._apply("instructions", sum(counter.base.values()), sum(final.values()), known)

    def _round(self, counter: ModelCounter, tried: Mapping[str, Decision], known: Mapping[str, _Search]) -> None:
        """Counts schedules of different kernels in one run; if that fails, in two with half of them."""
        counts = counter.count(tried)
        self.looked |= set(tried)
        if counts is not None:
            self.counted += len(tried)
            for key, decision in tried.items():
                known[key].take(counts.get(key, counter.base[key]) / counter.base[key], decision, _COUNTED_GAIN)
        elif len(tried) == 1:
            self.wrong |= set(tried)
        else:
            keys = list(tried)
            for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                self._round(counter, {key: tried[key] for key in half}, known)

    def _apply(self, unit: str, untuned: float, tuned: float, searches: Mapping[str, _Search]) -> StaticResult:
        applied = tuned <= _WHOLE_GAIN * untuned
        verdicts = {key: self._record(one, unit) for key, one in searches.items() if one.best} if applied else {}
        # What was found before, and is not any more, is taken back.
        gone = [replace(self._record(one, unit), decision=None) for one in self._unconfirmed(verdicts)]
        self.log.append([*verdicts.values(), *gone])
        names = {one.workload.key: one.workload.names for one in self.searches}
        wrong = [names[key][0] for key in sorted(self.wrong)]
        return StaticResult(
            unit,
            untuned,
            tuned,
            verdicts,
            names,
            self.estimated,
            self.counted,
            wrong,
            applied and bool(verdicts),
            self.kernels - self.done,
        )

    def _unconfirmed(self, verdicts: Mapping[str, Record]) -> list[_Search]:
        looked = self.before - {self.estimating} if self.emulator is None else self.before & self.looked
        keys = looked - verdicts.keys()
        return [search for search in self.searches if search.workload.key in keys]

    def _record(self, search: _Search, unit: str) -> Record:
        """Its seconds are cycles by the target's clock, instructions as if each took one."""
        ratio, decision = search.best or (1.0, search.space.default)
        workload, target = search.workload, self.options.target
        base = search.base / (target.ghz * 1e9)
        return Record(
            kind=STATIC,
            workload=workload.key,
            work=describe(workload.program, workload.cost, search.space.default.rule),
            target=target.name,
            fingerprint=target.fingerprint,
            decision=decision,
            seconds=base * ratio,
            spread=0.0,
            base=base,
            rounds=1,
            threads=1,
            source=COUNTED if unit == "instructions" else ESTIMATED,
        )

    def _tell(self, kernels: int) -> None:
        elapsed = time.perf_counter() - self.begin
        self.report(StaticProgress(elapsed, self.budget, kernels, self.done, self.estimated, self.counted))


def _candidates(space: Space, rng: random.Random) -> list[Decision]:
    """Schedules with the default's parameters for caches: those that differ least from it, and some of the others."""
    kept = {name: space.default.parameters[name] for name in _OF_CACHES if name in space.default.parameters}
    found = [one for one in space.decisions if not kept or kept.items() <= dict(one.parameters).items()]
    found += [one for one in space.decisions if one.rule != space.default.rule and one not in found]
    rng.shuffle(found)
    return sorted(found, key=lambda one: distance(one, space.default))[:_MOST_ESTIMATED]
