"""The search: when it ends, what it starts from, and which records teach it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.target import load_target
from compiler.target_model import Cluster
from compiler.tune.fleet import Fleet
from compiler.tune.kernel import KernelSearch
from compiler.tune.ranking import Ranking
from compiler.tune.records import THROTTLED, Record
from compiler.tune.search import Searcher, roof_of, seconds_to_search
from compiler.tune.trials import Candidate, Plan, Settings
from tests.tune.records import record
from tests.tune.trials import searches_of


def test_a_search_ends_when_a_batch_promises_too_little() -> None:
    (search,) = searches_of([(17, 24, 40)])[1]
    search.base, search.roof, search.worth = 1e-3, 5e-4, 1e-5
    promised = []
    while not search.finished:
        promised.append(search.expected)
        search.add([])
    assert promised == pytest.approx([2.5e-4 / 2**batch for batch in range(5)]) and search.expected == 0.0


def test_generic_targets_leave_room_for_fast_machines() -> None:
    """Their estimates are of a slow clock, beside which a kernel at 5 GHz would seem to have nothing left to gain."""
    (search,) = searches_of([(170, 240, 400)])[1]
    generic = load_target("x86-64-v4")
    cycles = search.workload.cost.flops / (generic.simd_bits / 32 * 2 * generic.fma_pipes)
    search.base = cycles / (0.8 * 5e9)  # seconds, at four fifths of what such a core could do
    search.roof = roof_of(search, Settings(generic), 1)
    assert not search.finished and search.expected > 0
    known = replace(generic, clusters=(Cluster("", 1, generic.ghz),))
    assert roof_of(search, Settings(known), 1) > search.roof


def test_kernels_inside_control_flow_are_searched_though_their_share_seems_small() -> None:
    """By estimate they may have less of the step's time than they need at least, as not all of it runs."""
    (search,) = searches_of([(170, 240, 400)])[1]
    search.base, search.roof = 1e-6, 2e-6
    assert search.finished
    search.workload = replace(search.workload, share=0.1)
    assert not search.finished and search.expected > 0


@pytest.mark.parametrize("changes", [{"source": THROTTLED}, {"versions": ("0", "0", "0")}])
def test_records_of_other_conditions_decide_nothing(changes: dict[str, Any]) -> None:
    (search,) = searches_of([(17, 24, 40)])[1]
    fast = [record(decision=one, seconds=1e-9, base=1e-3, **changes) for one in search.space.decisions]
    again = KernelSearch(search.workload, search.work, search.space, records=fast)
    assert again.best_ratio == 1.0 and again.base == 0.0 and not again.fastest()
    assert again.left == list(search.space.decisions)


def test_a_search_goes_on_if_its_last_batch_won() -> None:
    """Though nothing was expected any more when the next one was planned."""
    (search,) = searches_of([(170, 240, 400)])[1]
    search.base, search.roof = 1e-3, 5e-4
    plans: list[int] = []

    class Sometimes(Searcher):
        def _plans(self) -> list[Plan]:
            plans.append(len(plans))
            chosen = [one for one in search.left if one != search.space.default][: 1 if len(plans) in (1, 3) else 0]
            search.tried |= {one.text for one in chosen}
            return [Plan(search, tuple(chosen))] if chosen else []

        def _compile(self, plans: Sequence[Plan]) -> list[Candidate]:
            return [Candidate(plan.search, decision, {}) for plan in plans for decision in plan.decisions]

        def _measure(self, candidates: Sequence[Candidate], settings: Settings) -> dict[str, list[Record]]:
            return {}

    fleet = Fleet([SimpleNamespace(name="fake", threads=1)])  # type: ignore[list-item]
    searcher = object.__new__(Sometimes)
    searcher.fleet, searcher.deadline, searcher.trials = fleet, math.inf, 0
    searcher.settings, searcher._tell = Settings(load_target("host")), lambda: None  # type: ignore[method-assign]
    searcher.run()
    assert searcher.trials == 2


def test_the_newest_records_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[Any] = []
    monkeypatch.setattr(Ranking, "_train", lambda self, known: taught.extend(known))
    monkeypatch.setattr("compiler.tune.ranking._MOST_RECORDS", 30)
    mine, others = [record(n) for n in range(25)], [record(100 + n) for n in range(25)]
    Ranking(mine, others)
    assert [one for one, _ in taught] == [*others[-5:], *mine]


@pytest.mark.parametrize(("budget", "searching"), [(600.0, 480.0), (100.0, 75.0), (60.0, 35.0), (20.0, 10.0)])
def test_a_small_budget_has_time_for_the_end(budget: float, searching: float) -> None:
    assert seconds_to_search(budget) == searching
