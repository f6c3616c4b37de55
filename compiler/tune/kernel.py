"""What is known of one kernel while it is tuned, and what to try next."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from ..kernels.rule import Decision
from .ranking import Ranking
from .records import Record
from .space import Space, distance
from .workloads import LEAST_LEFT, Workload

_EXPLORED = 0.25  # share of a batch that is near the best, whatever the model thinks
_NEAR_ROOF = 1.04  # no search this near to the roofline
_LEAST_GAIN = 0.01


@dataclass
class KernelSearch:
    """The search for one kernel.

    Attributes:
        workload: the kernel.
        work: its features.
        space: what may be tried.
        base: seconds of the default.
        roof: seconds that the machine needs at least.
        worth: seconds of a run of the model that another batch has to promise.
        records: what was measured, of this target.
        stalled: batches since the best one got better.
    """

    workload: Workload
    work: dict[str, Any]
    space: Space
    base: float = 0.0
    roof: float = 0.0
    worth: float = 0.0
    records: list[Record] = field(default_factory=list)
    stalled: int = 0

    def __post_init__(self) -> None:
        usable = [record for record in self.records if record.decides]
        self.tried = {record.decision.text for record in usable if record.decision}
        timed = [record for record in usable if 0 < record.base < math.inf]
        self.base = max(timed, key=lambda record: record.date).base if timed else self.base

    def add(self, records: Sequence[Record]) -> None:
        """Takes a batch's results."""
        before = self.best_ratio
        self.records += records
        self.stalled = 0 if self.best_ratio < before - _LEAST_GAIN else self.stalled + 1

    def fastest(self, count: int = 1) -> list[Decision]:
        """The schedules that are faster than the default, in order."""
        return [decision for ratio, decision in self._measured() if ratio < 1.0][:count]

    @property
    def best_ratio(self) -> float:
        return min([1.0, *(ratio for ratio, _ in self._measured()[:1])])

    def _measured(self) -> list[tuple[float, Decision]]:
        """Schedules and their times by the default's, the fastest first; of several records the median counts."""
        found: dict[str, tuple[Decision, list[float]]] = {}
        for record in self.records:
            if record.decides and record.decision is not None and record.decision != self.space.default:
                found.setdefault(record.decision.text, (record.decision, []))[1].append(record.ratio)
        return sorted(((median(ratios), one) for one, ratios in found.values()), key=lambda pair: pair[0])

    @property
    def least(self) -> float:
        """Seconds of a call that may be left."""
        return self.roof if self.workload.share == 1.0 else min(self.roof, LEAST_LEFT * self.base)

    @property
    def seconds(self) -> float:
        """Of all calls in a run of the model, as fast as is known."""
        return self.base * self.best_ratio * self.workload.calls

    @property
    def left(self) -> list[Decision]:
        return [decision for decision in self.space.decisions if decision.text not in self.tried]

    @property
    def finished(self) -> bool:
        """Whether nothing more is expected of it."""
        near = self.least and self.base * self.best_ratio < self.least * _NEAR_ROOF
        return bool(near) or self._promise < self.worth or not self.left

    @property
    def expected(self) -> float:
        """Seconds of a run of the model that a batch may save."""
        return 0.0 if self.finished else self._promise

    @property
    def _promise(self) -> float:
        """The share above the roofline, halved by each batch that brought nothing."""
        headroom = 1.0 - min(1.0, self.least / max(self.base * self.best_ratio, 1e-12))
        return self.seconds * headroom * 0.5 ** (1 + self.stalled)

    def propose(self, ranking: Ranking, count: int, rng: random.Random) -> list[Decision]:
        """Schedules to try next: those that the model thinks are fast, and some that are near the best one.

        While there is no model, what differs from the default in few parameters comes first.
        """
        left = self.left
        if not left:
            return []
        center = next(iter(self.fastest()), self.space.default)
        rng.shuffle(left)
        if ranking.trained:
            guesses = ranking.predict(self.work, left)
            order = [left[place] for place in np.argsort(guesses, kind="stable")]
            chosen = order[: count - math.ceil(count * _EXPLORED)]
        else:
            chosen = []
        near = sorted(left, key=lambda decision: distance(decision, center))
        for decision in near:
            if len(chosen) >= count:
                break
            if decision not in chosen:
                chosen.append(decision)
        self.tried |= {decision.text for decision in chosen}  # they are being compiled while others are measured
        return chosen
