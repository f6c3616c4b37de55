"""Trials: schedules that are wrong or crash are found, and kernels are measured where the model calls them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tvm import te, topi

from compiler.build.cache import Cache
from compiler.build.objects import CompiledKernel, Job, canonical_form, compile_kernels
from compiler.frontend.prepare import load_model
from compiler.kernels.rule import Decision
from compiler.pipeline import lower_model, resolve
from compiler.runtime.loader import read_manifest
from compiler.runtime.measure import _may_differ
from compiler.target import Target, load_target
from compiler.target_model import Cluster
from compiler.tune.boards import BoardError, Comparison, LocalBoard, Times, read_answer, read_comparison
from compiler.tune.check import check_candidates
from compiler.tune.features import describe
from compiler.tune.fleet import Fleet
from compiler.tune.kernel import KernelSearch
from compiler.tune.ranking import Ranking
from compiler.tune.records import THROTTLED, Record
from compiler.tune.search import Searcher, roof_of
from compiler.tune.space import space_of
from compiler.tune.subject import Subject, kernels_alone, whole_model
from compiler.tune.trials import Candidate, Plan, Settings, compile_plans, time_candidates
from tests.tune.records import record
from tests.tune.trials import product


class FakeBoard:
    """Every step takes as many microseconds as the version has; what `bad` says of its schedules crashes."""

    name, threads = "fake", 1

    def __init__(self, bad: Callable[[list[dict[str, int]]], bool]) -> None:
        self.bad = bad

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        manifest = read_manifest(trial)
        found = []
        for number, version in enumerate(manifest["shapes"]):
            parameters = [manifest["kernels"][step]["parameters"] for step in version["steps"]]
            if self.bad(parameters):
                raise BoardError("it crashed")
            found.append(Times(np.full((3, len(parameters)), 1e-6 * (1 + number)), {}))
        return found

    def close(self) -> None:
        pass


def searches_of(sizes: list[tuple[int, int, int]]) -> tuple[Subject, list[KernelSearch]]:
    """Products, named `product0` and so on."""
    target = load_target("host")
    workloads = [
        replace(product(*size), names=(f"product{place}",), steps=(place,)) for place, size in enumerate(sizes)
    ]
    functions = {workload.names[0]: workload.program for workload in workloads}
    searches = [
        KernelSearch(workload, describe(workload.program, workload.cost, "tile"), space)
        for workload in workloads
        if (space := space_of(workload.program, target)) is not None
    ]
    kernels = compile_kernels(functions, target, Cache()).kernels
    return kernels_alone(functions, kernels, workloads), searches


def test_a_schedule_that_crashes_spoils_no_other() -> None:
    target = load_target("host")
    subject, searches = searches_of([(17, 24, 40), (18, 24, 40), (19, 24, 40)])
    plans = [Plan(search, tuple(Decision("tile", {"rows": rows}) for rows in (1, 2, 4))) for search in searches]
    candidates = compile_plans(plans, subject, Settings(target), Cache())
    culprit = candidates[4]

    def bad(parameters: list[dict[str, int]]) -> bool:
        return parameters[1]["rows"] == 2

    time_candidates(candidates, subject, Settings(target), Fleet([FakeBoard(bad)]), Cache(), lambda done: None)
    assert [one.failure for one in candidates if one is not culprit] == [""] * 8
    assert culprit.failure == "it crashed"
    assert all(np.isfinite(one.seconds) and one.base == pytest.approx(1e-6) for one in candidates if one is not culprit)


def test_wrong_results_are_found() -> None:
    target = load_target("host")
    subject, (search,) = searches_of([(17, 24, 40)])
    x, w = te.placeholder((17, 24), name="x"), te.placeholder((24, 40), name="w")
    other = canonical_form(te.create_prim_func([x, w, topi.matmul(x, w)], index_dtype_override="int64"))
    kernels = compile_kernels({"right": search.workload.program, "wrong": other}, target, Cache()).kernels
    candidates = [Candidate(search, search.space.default, {"product0": kernels[name]}) for name in kernels]
    board = LocalBoard(1)
    check_candidates(candidates, subject, Settings(target, rounds=1), Fleet([board]), Cache())
    board.close()
    right, wrong = candidates
    assert not right.failure and "differ" in wrong.failure


def test_kernels_inside_control_flow_are_measured_as_the_step_they_are_in(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["product"]),
            helper.make_node("Tanh", ["product"], ["h_out"]),
            helper.make_node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [4, 16]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h_out", TensorProto.FLOAT, [4, 16]),
        ],
    )
    weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)],
        "loop",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 16]),
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 16])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model = load_model(made)
    options = resolve(model, "host", None, None, False, None, True, tuning_logs=tmp_path)
    subject = whole_model(lower_model(model, options), options.target, Cache())
    searches = [
        KernelSearch(workload, describe(workload.program, workload.cost, space.default.rule), space)
        for workload in subject.workloads
        if (space := space_of(workload.program, options.target)) is not None
    ]
    assert searches
    plans = [Plan(search, (search.space.default,)) for search in searches]
    candidates = compile_plans(plans, subject, Settings(options.target), Cache())
    board = LocalBoard(1)
    time_candidates(candidates, subject, Settings(options.target, rounds=3), Fleet([board]), Cache(), lambda done: None)
    board.close()
    flow = next(number for number, step in enumerate(subject.program.steps) if step.flow)
    assert any(flow in candidate.workload.steps for candidate in candidates)
    assert all(0 < candidate.seconds < 1 and not candidate.failure for candidate in candidates)


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


def test_a_schedule_that_does_not_compile_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("host")
    subject, searches = searches_of([(17, 24, 40), (18, 24, 40)])
    plans = [Plan(search, tuple(Decision("tile", {"rows": rows}) for rows in (1, 2, 4))) for search in searches]
    culprit = (searches[1].workload.key, 2)
    really = Job.compile

    def compile_job(job: Job, target: Target) -> CompiledKernel:
        if (
            job.decision is not None
            and job.decision.parameters.get("rows") == 2
            and "T.int64(18)" in job.program.script()
        ):
            raise RuntimeError("LLVM does not like it")
        return really(job, target)

    monkeypatch.setattr(Job, "compile", compile_job)
    candidates = compile_plans(plans, subject, Settings(target), None)
    failures = {(one.workload.key, one.decision.parameters["rows"]): one.failure for one in candidates}
    assert len(failures) == 6 and "LLVM does not like it" in failures.pop(culprit)
    assert not any(failures.values())


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

    board = FakeBoard(lambda parameters: False)
    fleet = Fleet([board])
    searcher = object.__new__(Sometimes)
    searcher.fleet, searcher.deadline, searcher.trials = fleet, math.inf, 0
    searcher.settings, searcher._tell = Settings(load_target("host")), lambda: None  # type: ignore[method-assign]
    searcher.run()
    assert searcher.trials == 2


ANSWER = {"versions": [{"nanoseconds": [[1, 2]], "differences": {"y": 0.0}}]}


@pytest.mark.parametrize(
    "answer",
    [
        {"versions": [{"nanoseconds": [[10**400]], "differences": {}}]},
        {"versions": [{"nanoseconds": [[1, 2], [3]], "differences": {}}]},
        {"versions": [{"nanoseconds": [[float("inf")]], "differences": {}}]},
        ANSWER | {"temperature": 10**400},
    ],
)
def test_answers_of_trials_that_make_no_sense(answer: dict[str, Any]) -> None:
    assert read_answer(ANSWER, Path("trial.so"))
    with pytest.raises(BoardError):
        read_answer(answer, Path("trial.so"))


@pytest.mark.parametrize(
    "changes", [{"ratio": 0}, {"ratio": 10**400}, {"noise": -1}, {"medians": [1, float("nan")]}, {"error": "a\x1b[2J"}]
)
def test_answers_of_comparisons_that_make_no_sense(changes: dict[str, Any]) -> None:
    answer = {"medians": [1.0, 1.0], "ratio": 1.0, "noise": 0.0, "kernels": {}}
    assert not read_comparison(answer).faster
    with pytest.raises(BoardError) as error:
        read_comparison(answer | changes)
    assert str(error.value).isprintable()


def test_equal_artifacts_are_not_faster(tmp_path: Path) -> None:
    """Of many sittings some may say so, as long as chance alone makes so few differ in one comparison of 25."""
    assert [_may_differ(count) for count in (1, 5, 8, 11, 15)] == [0, 0, 1, 2, 3]
    for ratio, noise, faster in ((0.9, 0.05, True), (0.9, 0.11, False), (0.999, 0.0, False)):
        assert Comparison((1.0, ratio), ratio, {}, noise).faster == faster


def test_the_newest_records_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[Any] = []
    monkeypatch.setattr(Ranking, "_train", lambda self, known: taught.extend(known))
    monkeypatch.setattr("compiler.tune.ranking._MOST_RECORDS", 30)
    mine, others = [record(n) for n in range(25)], [record(100 + n) for n in range(25)]
    Ranking(mine, others)
    assert [one for one, _ in taught] == [*others[-5:], *mine]
