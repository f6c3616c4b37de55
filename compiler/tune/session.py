"""Tunes a model: from its kernels to verdicts that later compilations follow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..build.cache import Cache
from ..build.lower import Begun
from ..build.objects import Workers
from ..errors import UserError
from ..files import scratch_folder
from ..frontend.prepare import Model
from ..pipeline import Artifact, Clock, Lowered, Options, compile_with, lower_model
from ..runtime.serve import remove_abandoned
from .boards import Comparison
from .compare import compare
from .features import describe
from .fleet import Fleet, State
from .graph import Step, choose
from .kernel import KernelSearch
from .logs import Verdicts, shipped_log
from .records import CHOICE, Log, Record, now
from .search import Progress, Searcher, roof_of
from .space import space_of
from .subject import Subject, whole_model
from .trials import SCRATCH, Settings

_CHOOSING = 0.15  # share of the budget, for choices of graph passes


@dataclass(frozen=True)
class Result:
    """What came of tuning a model.

    Attributes:
        untuned, tuned: medians of seconds of the whole model, measured in turns.
        already: decisions of earlier sessions that `untuned` follows, too.
        ratio: median of the tuned by the untuned time of the same turn.
        verdicts: what is applied from now on, by workload or choice.
        names: of the kernels, by workload; texts of choices, by key.
        curve: the search's progress.
        trials: schedules that were measured.
        applied: whether the whole model is faster and right, and the verdicts are in the log.
        calls: in a run of the model, by workload.
        bound: how many times as fast the searched kernels would be, were they as fast as the machine computes and
            moves data (the roofline) by its descriptor, whose clock may be a little off.
        boards: that measured, and how they were.
        wrong: how the fastest model's results differ from a reference's; empty where they do not, or where the target
            runs neither here nor in an emulator.
    """

    untuned: float
    tuned: float
    ratio: float
    verdicts: Mapping[str, Record]
    names: Mapping[str, Sequence[str]]
    curve: Sequence[Progress]
    trials: int
    applied: bool
    calls: Mapping[str, int]
    bound: float
    already: int = 0
    boards: Sequence[State] = ()
    wrong: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "untuned": self.untuned,
            "tuned": self.tuned,
            "ratio": self.ratio,
            "already": self.already,
            "applied": self.applied,
            "wrong": self.wrong,
            "trials": self.trials,
            "bound": self.bound,
            "kernels": [
                {
                    "kernel": self.names[key][0],
                    "schedule": record.text,
                    "ratio": record.ratio,
                    "calls": self.calls.get(key, 1),
                    "saved": (record.base - record.seconds) * self.calls.get(key, 1),
                }
                for key, record in self.verdicts.items()
            ],
            "boards": [asdict(state) for state in self.boards],
            "curve": [asdict(progress) for progress in self.curve],
        }


class Session:
    """One run of the tuner on one model.

    Args:
        options: of the compilation that is to become faster; its decisions and choices are started from.
        workers: that compile schedules in place of this machine.
    """

    def __init__(
        self,
        model: Model,
        options: Options,
        fleet: Fleet,
        log: Log,
        budget: float,
        cache: Cache | None,
        workers: Workers | None = None,
    ) -> None:
        self.model, self.options, self.fleet, self.log, self.cache = model, options, fleet, log, cache
        self.begin, self.budget = time.perf_counter(), budget
        log.check_writable()
        remove_abandoned(SCRATCH)
        known = [*shipped_log(options.target).read("trial"), *log.read("trial")]
        own = options.target.fingerprint
        self.own = [record for record in known if record.fingerprint == own and record.threads == fleet.threads]
        self.others = [record for record in known if record.fingerprint != own]
        self.settings = Settings(options.target, workers=workers)
        self.names: dict[str, Sequence[str]] = {}
        self.already = 0
        self.curve: list[Progress] = []
        self._begun = Begun()

    def run(self, report: Callable[[Progress], None]) -> Result:
        """Tunes. Raises UserError if the budget is too small to measure anything."""
        untuned = self._lower({})
        subject = whole_model(untuned, self.options.target, self.cache)
        keys = {*untuned.choices, *(workload.key for workload in subject.workloads)}
        self.already = len(keys & {*self.options.decisions, *self.options.choices})
        chosen: dict[str, Record] = {}
        searcher: Searcher | None = None
        with contextlib.suppress(KeyboardInterrupt):  # what is measured is confirmed as if the time were over
            for step in self._choose(untuned, subject):
                self.log.append(step.records)
                self._tell(step, _saved_by(chosen), report)
                chosen |= step.best
            if chosen:
                subject = whole_model(self._lower(_verdicts(chosen).choices), self.options.target, self.cache)
            searches = self._searches(subject)
            mine = {search.workload.key for search in searches}
            searcher = Searcher(
                subject,
                searches,
                self.settings,
                self.fleet,
                self.log,
                self.cache,
                self.begin,
                self.budget,
                [record for record in self.own if record.workload not in mine],
                self.others,
                report,
                _saved_by(chosen),
                self.curve[-1].models if self.curve else 0,
            )
            searcher.measure_defaults()
            self._check_budget(searcher)
            searcher.run()
            self.fleet.interrupts.check()
        if searcher is None:
            raise KeyboardInterrupt
        return self._decide(chosen, searcher.confirm(), searcher)

    def _lower(self, choices: Mapping[str, int]) -> Lowered:
        choices = {**self.options.choices, **choices}
        lowered = lower_model(self.model, replace(self.options, dump=None, choices=choices), begun=self._begun)
        self.names |= {key: (choice.text,) for key, choice in lowered.choices.items()}
        return lowered

    def _searches(self, subject: Subject) -> list[KernelSearch]:
        """Of those kernels that there is something to try for."""
        found = []
        for workload in subject.workloads:
            space = space_of(workload.program, self.options.target, self.fleet.threads)
            if space is None or any(argument.nbytes == 0 for argument in workload.arguments):
                continue
            work = describe(workload.program, workload.cost, space.default.rule)
            records = [record for record in self.own if record.workload == workload.key]
            search = KernelSearch(workload, work, space, records=records)
            search.roof = roof_of(search, self.settings, self.fleet.threads)
            self.names[workload.key] = workload.names
            found.append(search)
        return found

    def _choose(self, untuned: Lowered, subject: Subject) -> Iterator[Step]:
        """Finds the options of graph passes that are faster than those that are taken."""
        where = self.settings, self.fleet, self.cache
        return choose(untuned, subject, self._lower, *where, self.begin + _CHOOSING * self.budget, self.own)

    def _tell(self, step: Step, saved: float, report: Callable[[Progress], None]) -> None:
        """Tells how far choosing is; `saved` are the seconds by what was chosen before this step."""
        if not step.seconds:
            return  # nothing was measured
        progress = Progress(
            elapsed=time.perf_counter() - self.begin,
            budget=self.budget,
            models=step.models,
            untuned=step.seconds + saved,
            best=step.seconds - _saved_by(step.best),
            boards=self.fleet.current_states(),
        )
        self.curve.append(progress)
        report(progress)

    def _check_budget(self, searcher: Searcher) -> None:
        spent = time.perf_counter() - self.begin
        if self.begin + spent > searcher.deadline and not any(search.records for search in searcher.searches):
            raise UserError(
                f"the budget of {self.budget:.0f} s is too small: to measure the untuned kernels takes {spent:.0f} s",
                "--budget",
                f"give at least {2 * spent / 60 + 1:.0f}m",
            )

    def _decide(self, chosen: Mapping[str, Record], winners: Mapping[str, Record], searcher: Searcher) -> Result:
        """Keeps of what was found that with which the whole model runs faster, and right."""
        with scratch_folder(SCRATCH) as folder:
            untuned = self._compile(folder / "untuned.so", {}, verify=False).path
            kept = {key: record for key, record in {**chosen, **winners}.items() if not self._is_applied(key, record)}
            found = len(kept)
            compared, wrong = self._compare(untuned, kept, folder)
            for key in _slower(compared, kept, self.names):
                del kept[key]
            if len(kept) < found:
                compared, wrong = self._compare(untuned, kept, folder)
            if not chosen.keys().isdisjoint(kept) and (wrong or not compared.faster):
                kept = {key: record for key, record in kept.items() if key not in chosen}
                compared, wrong = self._compare(untuned, kept, folder)
        applied = bool(kept) and compared.faster and not wrong and not compared.heat.throttled
        if applied:
            self.log.append([replace(record, kind="verdict", date=now()) for record in kept.values()])
        verdicts = kept if applied else {}
        calls = {search.workload.key: search.workload.calls for search in searcher.searches}
        return Result(
            *compared.medians,
            compared.ratio,
            verdicts,
            self.names,
            [*self.curve, *searcher.curve],
            searcher.trials,
            applied,
            calls,
            searcher.bound,
            self.already,
            self.fleet.current_states(),
            wrong,
        )

    def _is_applied(self, key: str, record: Record) -> bool:
        """Whether compilations follow it already, as an earlier session found it too."""
        decision = record.decision
        if decision is not None and decision.rule == CHOICE:
            return self.options.choices.get(key) == decision.parameters["value"]
        return self.options.decisions.get(key) == decision

    def _compare(self, untuned: Path, kept: Mapping[str, Record], folder: Path) -> tuple[Comparison, str]:
        """The speed of the model with what is kept, and what is wrong with its results.

        Schedules were checked, each kernel alone. Choices of graph passes make other kernels, with other roundings:
        only the whole model has a reference.
        """
        tuned = self._compile(folder / "tuned.so", kept, verify=bool(kept))
        wrong = str(tuned.manifest["verification"].get("reason", "")) if tuned.verified == "failed" else ""
        return compare(untuned, tuned.path, self.fleet), wrong

    def _compile(self, out: Path, kept: Mapping[str, Record], verify: bool) -> Artifact:
        verdicts = _verdicts(kept)
        options = replace(
            self.options,
            out=out,
            verify=verify,
            dump=None,
            decisions={**self.options.decisions, **verdicts.decisions},
            choices={**self.options.choices, **verdicts.choices},
        )
        return compile_with(self.model, options, Clock())


def tune(
    model: Model,
    options: Options,
    fleet: Fleet,
    log: Log,
    budget: float,
    report: Callable[[Progress], None] = lambda progress: None,
    cache: Cache | None = None,
    workers: Workers | None = None,
) -> Result:
    """Tunes a model for the options' target within about `budget` seconds.

    Raises:
        UserError: the model cannot be compiled, or the budget is too small to measure anything.
    """
    with fleet.interrupts:
        return Session(model, options.without_estimates(), fleet, log, budget, cache, workers).run(report)


def _verdicts(records: Mapping[str, Record]) -> Verdicts:
    return Verdicts.of({key: record.decision for key, record in records.items() if record.decision is not None})


def _saved_by(chosen: Mapping[str, Record]) -> float:
    """Seconds of a run of the model, by choices of graph passes."""
    return sum(record.base - record.seconds for record in chosen.values())


def _slower(compared: Comparison, kept: Mapping[str, Record], names: Mapping[str, Sequence[str]]) -> list[str]:
    """Kernels that the model runs slower with their new schedule."""
    return [
        key
        for key in kept
        if next((compared.kernels[name] for name in names[key] if name in compared.kernels), 0.0) > 1.0
    ]
