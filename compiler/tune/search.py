"""Spends a budget of time on the kernels of a model, those first from which most is expected."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from ..build.cache import Cache
from ..build.objects import one_compiler
from ..kernels.estimate import seconds_on_one_core
from .check import check_candidates
from .fleet import Fleet, State
from .kernel import KernelSearch
from .ranking import Ranking
from .records import THROTTLED, Log, Record
from .subject import Subject
from .trials import Candidate, Plan, Settings, compile_plans, time_candidates

_CANDIDATES = 4  # of a kernel in a batch
_PLANS = 8  # kernels of a batch
_RETRAIN = 40  # new records after which the model learns again
_CONFIRM_ROUNDS = 80
_CONFIRMED = 3  # best schedules of a kernel that are measured again
_SIGNIFICANT = 2.5  # standard errors
_LEAST_GAIN = 0.01
_FASTER = 4.0  # than the estimates of a generic target, at most: a core of 6 GHz
# Shares of a budget, at most and at least; and the seconds that what comes after it takes.
_SEARCHING, _LEAST_SEARCHING, _ENDING = 0.8, 0.5, 25.0
_LEAST_EXPECTED = 1e-4  # of the model's time; kernels that promise less with a batch are left alone


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        elapsed, budget: seconds.
        kernels: that are searched, and finished among them; none while graph passes' choices are.
        models: with other choices, measured in this session.
        trials: schedules measured in this session.
        untuned, best: seconds of all calls of all kernels, untuned and by the best choices and schedules so far.
        expected: seconds that the next batches may still save.
        boards: how each of them is.
    """

    elapsed: float
    budget: float
    kernels: int = 0
    finished: int = 0
    models: int = 0
    trials: int = 0
    untuned: float
    best: float
    expected: float = 0.0
    boards: Sequence[State] = ()


class Searcher:
    """Searches schedules of kernels.

    Args:
        subject: the model.
        searches: its kernels; what earlier sessions measured is in them.
        records: of this target, of other kernels.
        others: records of other machines of that kind, as a start for the model.
        begin: of the session, on time.perf_counter's clock.
        budget: seconds of the session.
        report: called after every batch.
        saved: seconds of a run of the model by choices of graph passes, which are made.
        models: that were measured for them.
    """

    def __init__(
        self,
        subject: Subject,
        searches: Sequence[KernelSearch],
        settings: Settings,
        fleet: Fleet,
        log: Log,
        cache: Cache | None,
        begin: float,
        budget: float,
        records: Sequence[Record] = (),
        others: Sequence[Record] = (),
        report: Callable[[Progress], None] = lambda progress: None,
        saved: float = 0.0,
        models: int = 0,
        seed: int = 0,
    ) -> None:
        self.subject, self.searches, self.settings = subject, searches, settings
        self.fleet, self.log, self.cache = fleet, log, cache
        self.begin, self.budget, self.report = begin, budget, report
        self.deadline = begin + seconds_to_search(budget)
        self.records, self.others = records, others
        self.saved, self.models = saved, models
        self.trials = 0
        self.curve: list[Progress] = []
        self._rng = random.Random(seed)
        self._rankings: dict[str, tuple[int, Ranking]] = {}

    def measure_defaults(self) -> None:
        """Times the default of every kernel whose time no earlier session found."""
        plans = [Plan(search, (search.space.default,)) for search in self.searches if not search.base]
        self._measure(self._compile(plans), self.settings)
        worth = _LEAST_EXPECTED * sum(search.seconds for search in self.searches)
        for search in self.searches:
            search.worth = worth
        self._tell()

    def run(self) -> None:
        """Searches until the deadline, or until nothing is expected of any kernel."""
        with one_compiler() as compiler:
            ahead: Future[list[Candidate]] | None = None
            while time.perf_counter() < self.deadline:
                # What was planned ahead is nothing where all seemed done before the last batch won.
                candidates = (ahead.result() if ahead is not None else []) or self._compile(self._plans())
                if not candidates:
                    break
                # The next ones, while these are measured.
                ahead = compiler.submit(self._compile, self._plans()) if self.fleet.leaves_cores else None
                measured = self._measure(candidates, self.settings)
                for key, records in measured.items():
                    self._search_of(key).add(records)
                self.trials += len(candidates)
                self._tell()

    def confirm(self) -> dict[str, Record]:
        """Measures the best schedules once more, longer; by workload, those that are faster beyond the noise."""
        candidates = self._compile([Plan(search, tuple(search.fastest(_CONFIRMED))) for search in self.searches])
        check_candidates(candidates, self.subject, replace(self.settings, rounds=1), self.fleet, self.cache)
        settings = replace(self.settings, rounds=_CONFIRM_ROUNDS, seconds=4 * self.settings.seconds)
        found = {}
        for key, records in self._measure(candidates, settings).items():
            winner = min(records, key=lambda record: record.ratio)
            if winner.source == THROTTLED:
                continue  # the cooling was measured
            error = _SIGNIFICANT * winner.spread / max(winner.base, 1e-12) / max(winner.rounds, 1) ** 0.5
            if winner.ratio < 1.0 - max(error, _LEAST_GAIN):
                found[key] = winner
        return found

    @property
    def bound(self) -> float:
        """How many times as fast as by their defaults the kernels are at most, by the roofline."""
        calls = [(search, search.workload.calls) for search in self.searches]
        untuned = sum(search.base * count for search, count in calls)
        least = sum(min(search.least, search.base) * count for search, count in calls)
        return untuned / least if least else 1.0

    def _plans(self) -> list[Plan]:
        """What to try next."""
        chosen = sorted(self.searches, key=lambda search: -search.expected)
        plans = [
            Plan(search, tuple(search.propose(self._ranking(search), _CANDIDATES, self._rng)))
            for search in chosen[:_PLANS]
            if search.expected > 0
        ]
        return [plan for plan in plans if plan.decisions]

    def _compile(self, plans: Sequence[Plan]) -> list[Candidate]:
        return compile_plans(plans, self.subject, self.settings, self.cache)

    def _measure(self, candidates: Sequence[Candidate], settings: Settings) -> dict[str, list[Record]]:
        """Their records, by workload; they are in the log then."""
        left = {id(candidate): candidate for candidate in candidates}
        records: dict[str, list[Record]] = {}

        def keep(done: Sequence[Candidate]) -> None:
            made = [candidate.record(settings, self.fleet.threads) for candidate in done]
            self.log.append(made)
            for candidate, record in zip(done, made, strict=True):
                del left[id(candidate)]
                records.setdefault(record.workload, []).append(record)
                candidate.search.base = candidate.base or candidate.search.base

        time_candidates(candidates, self.subject, settings, self.fleet, self.cache, keep)
        keep(list(left.values()))  # what failed
        return records

    def _search_of(self, key: str) -> KernelSearch:
        return next(search for search in self.searches if search.workload.key == key)

    def _ranking(self, search: KernelSearch) -> Ranking:
        """The model for the kernel's family, as of the last records."""
        family = str(search.work["family"])
        records = [record for record in self.records if record.work.get("family") == family]
        records += [r for other in self.searches if other.work["family"] == family for r in other.records]
        known = self._rankings.get(family)
        if known is None or len(records) >= known[0] + _RETRAIN:
            others = [record for record in self.others if record.work.get("family") == family]
            known = self._rankings[family] = (len(records), Ranking(records, others))
        return known[1]

    def _tell(self) -> None:
        progress = Progress(
            elapsed=time.perf_counter() - self.begin,
            budget=self.budget,
            kernels=len(self.searches),
            finished=sum(search.finished for search in self.searches),
            models=self.models,
            trials=self.trials,
            untuned=self.saved + sum(search.base * search.workload.calls for search in self.searches),
            best=sum(search.seconds for search in self.searches),
            expected=sum(search.expected for search in self.searches),
            boards=self.fleet.current_states(),
        )
        self.curve.append(progress)
        self.report(progress)


def seconds_to_search(budget: float) -> float:
    """Of a session; in the rest what was found is confirmed, and the whole model measured."""
    return max(_LEAST_SEARCHING * budget, min(_SEARCHING * budget, budget - _ENDING))


def roof_of(search: KernelSearch, settings: Settings, threads: int) -> float:
    """Seconds that a kernel takes at least on so many cores, as the target's descriptor says.

    A generic one knows neither clock nor caches: its estimates are of a slow machine, and this may be a fast one.
    """
    generic = not settings.target.clusters
    return seconds_on_one_core(search.workload.cost, settings.target, None) / 2 / threads / (_FASTER if generic else 1)
