"""Spends a budget of time on the kernels of a model, those first from which most is expected."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..build.cache import Cache
from ..kernels.estimate import seconds_on_one_core
from ..kernels.rule import Decision
from .fleet import Fleet, State
from .kernel import KernelSearch
from .ranking import Ranking
from .records import THROTTLED, Log, Record
from .trials import Plan, Settings, run_plans

_CANDIDATES = 7  # of a trial, beside the default
_PLANS = 4  # compiled and measured together
_DEFAULTS, _DEFAULT_ROUNDS = 8, 9
_RETRAIN = 40  # new records after which the model learns again
_CONFIRM_ROUNDS = 41
_CONFIRMED = 3  # best schedules of a kernel that are measured again
_SIGNIFICANT = 2.5  # standard errors
_LEAST_GAIN = 0.01


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        elapsed, budget: seconds.
        kernels: that are searched, and finished among them.
        trials: schedules measured in this session.
        untuned, best: seconds of all calls of all kernels, by the defaults and by the best schedules so far.
        expected: seconds that the next batches may still save.
        boards: how each of them is.
    """

    elapsed: float
    budget: float
    kernels: int
    finished: int
    trials: int
    untuned: float
    best: float
    expected: float
    boards: Sequence[State] = ()


class Searcher:
    """Searches schedules of kernels.

    Args:
        searches: the kernels; what earlier sessions measured is in them.
        records: of this target, of other kernels.
        others: records of other machines of that kind, as a start for the model.
        deadline: on time.perf_counter's clock.
        report: called after every batch.
    """

    def __init__(
        self,
        searches: Sequence[KernelSearch],
        settings: Settings,
        fleet: Fleet,
        log: Log,
        cache: Cache | None,
        begin: float,
        deadline: float,
        records: Sequence[Record] = (),
        others: Sequence[Record] = (),
        report: Callable[[Progress], None] = lambda progress: None,
        seed: int = 0,
    ) -> None:
        self.searches, self.settings, self.fleet, self.log, self.cache = searches, settings, fleet, log, cache
        self.begin, self.deadline, self.report = begin, deadline, report
        self.records, self.others = records, others
        self.trials = 0
        self.curve: list[Progress] = []
        self._rng = random.Random(seed)
        self._rankings: dict[str, tuple[int, Ranking]] = {}

    def measure_defaults(self) -> None:
        """Times the default of every kernel whose time no earlier session found, in the same turns as itself."""
        settings = replace(self.settings, rounds=_DEFAULT_ROUNDS)
        unknown = [search for search in self.searches if not search.base]
        for at in range(0, len(unknown), _DEFAULTS):
            plans = [Plan(search, (search.space.default,)) for search in unknown[at : at + _DEFAULTS]]
            run_plans(plans, settings, self.fleet, self.cache, self.log.append)
        self._tell()

    def run(self) -> None:
        """Searches until the deadline, or until nothing is expected of any kernel."""
        while time.perf_counter() < self.deadline:
            chosen = sorted(self.searches, key=lambda search: -search.expected / search.cost)
            plans = [
                Plan(search, tuple(search.propose(self._ranking(search), _CANDIDATES, self._rng)))
                for search in chosen[:_PLANS]
                if search.expected > 0
            ]
            plans = [plan for plan in plans if plan.decisions]
            if not plans:
                break
            batches = run_plans(plans, self.settings, self.fleet, self.cache, self.log.append)
            for plan, records in zip(plans, batches, strict=True):
                plan.search.add(records)
                self.trials += len(records)
            self._tell()

    def confirm(self) -> dict[str, Record]:
        """Measures the best schedules once more, longer; by workload, those that are faster beyond the noise."""
        found = {}
        settings = replace(self.settings, rounds=_CONFIRM_ROUNDS, seconds=2 * self.settings.seconds)
        for search in self.searches:
            best: dict[str, Decision] = {}
            for record in sorted(search.records, key=lambda record: record.ratio):
                if record.decision is not None and record.ratio < 1.0 and len(best) < _CONFIRMED:
                    best[record.decision.text] = record.decision
            if not best:
                continue
            plans = [Plan(search, tuple(best.values()))]
            (records,) = run_plans(plans, settings, self.fleet, self.cache, self.log.append)
            winner = min(records, key=lambda record: record.ratio)
            if winner.source == THROTTLED:
                continue  # the cooling was measured
            error = _SIGNIFICANT * winner.spread / max(winner.base, 1e-12) / max(winner.rounds, 1) ** 0.5
            if winner.ratio < 1.0 - max(error, _LEAST_GAIN):
                found[search.workload.key] = winner
        return found

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
            time.perf_counter() - self.begin,
            self.deadline - self.begin,
            len(self.searches),
            sum(search.finished for search in self.searches),
            self.trials,
            sum(search.base * search.workload.calls for search in self.searches),
            sum(search.seconds for search in self.searches),
            sum(search.expected for search in self.searches),
            [replace(state) for state in self.fleet.states.values()],
        )
        self.curve.append(progress)
        self.report(progress)


def roof_of(search: KernelSearch, settings: Settings, threads: int) -> float:
    """Seconds that a kernel takes at least on so many cores, as the target's descriptor says."""
    return seconds_on_one_core(search.workload.cost, settings.target, None) / 2 / threads
