"""Trials: schedules that are wrong or crash are found, and kernels are measured where the model calls them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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
from compiler.runtime.serve import MOST_SECONDS
from compiler.target import Target, load_target
from compiler.tune.boards import BoardError, LocalBoard, Times
from compiler.tune.check import check_candidates
from compiler.tune.features import describe
from compiler.tune.fleet import Fleet
from compiler.tune.kernel import KernelSearch
from compiler.tune.space import space_of
from compiler.tune.subject import whole_model
from compiler.tune.trials import Candidate, Plan, Settings, compile_plans, time_candidates
from tests.tune.trials import searches_of


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


def test_a_schedule_that_hangs_costs_seconds() -> None:
    target = load_target("host")
    subject, (search,) = searches_of([(17, 24, 40)])
    x, w = te.placeholder((17, 24), name="x"), te.placeholder((24, 40), name="w")
    k = te.reduce_axis((0, 1 << 44), name="k")
    endless = te.compute((17, 40), lambda i, j: te.sum(x[i, k % 24] * w[k % 24, j], k), name="endless")
    program = canonical_form(te.create_prim_func([x, w, endless], index_dtype_override="int64"))
    kernels = compile_kernels({"right": search.workload.program, "endless": program}, target, Cache()).kernels
    candidates = [Candidate(search, search.space.default, {"product0": kernels[name]}) for name in kernels]
    board, begin = LocalBoard(1), time.monotonic()
    time_candidates(candidates, subject, Settings(target, rounds=1), Fleet([board]), Cache())
    board.close()
    right, hanging = candidates
    assert not right.failure and "never ended" in hanging.failure
    assert time.monotonic() - begin < MOST_SECONDS


def test_kernels_inside_control_flow_are_measured_as_the_step_they_are_in(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["product"]),
            helper.make_node("Softmax", ["product"], ["h_out"]),
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
    inside = [workload for workload in subject.workloads if flow in workload.steps]
    assert len(inside) > 1
    assert sum(workload.share * workload.calls for workload in inside) == pytest.approx(1.0)
    assert all(workload.share == 1.0 for workload in subject.workloads if flow not in workload.steps)


def test_what_a_step_of_control_flow_gains_is_its_changed_kernels() -> None:
    _, (search, *_) = searches_of([(17, 24, 40)])
    search.workload = replace(search.workload, steps=(0,), share=0.25)
    candidate = Candidate(search, search.space.default, {})
    default, mine = (Times(np.full((3, 1), seconds), {}) for seconds in (8e-6, 7.5e-6))
    candidate.take(mine, default)
    assert (candidate.base, candidate.seconds) == (pytest.approx(2e-6), pytest.approx(1.5e-6))
    candidate.take(Times(np.full((3, 1), 1e-6), {}), default)  # more than it was thought to have
    assert candidate.seconds == pytest.approx(1e-6)


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
