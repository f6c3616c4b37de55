"""Spaces: whatever may be tried gives the default's results."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compiler.build.cache import Cache
from compiler.frontend.prepare import load_model
from compiler.kernels.rule import ALWAYS, AS_RECKONED, NEVER, ROWS_SHARED, SHARED
from compiler.kernels.schedule import schedule
from compiler.pipeline import lower_model, resolve
from compiler.target import load_target
from compiler.tune.boards import LocalBoard
from compiler.tune.check import check_candidates
from compiler.tune.features import describe
from compiler.tune.fleet import Fleet
from compiler.tune.kernel import KernelSearch
from compiler.tune.space import space_of
from compiler.tune.subject import whole_model
from compiler.tune.trials import Plan, Settings, compile_plans
from tests.tune.programs import product

_MOST = 24  # schedules of a kernel


def convolutions(batch: int, height: int, width: int, channels: tuple[int, int, int]) -> onnx.ModelProto:
    """3x3, depthwise, 1x1 and strided ones, each with an activation."""
    rng = np.random.default_rng(0)
    first, second, third = channels
    shapes = {"a": (second, first, 3, 3), "b": (second, 1, 3, 3), "c": (third, second, 1, 1), "d": (first, third, 3, 3)}
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) * 0.2).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes, value = [], "x"
    for name in shapes:
        settings = {"group": second if name == "b" else 1, "strides": [2, 2] if name == "d" else [1, 1]}
        pads = [0, 0, 0, 0] if name == "c" else [1, 1, 1, 1]
        nodes.append(helper.make_node("Conv", [value, name], [f"conv_{name}"], pads=pads, **settings))
        nodes.append(helper.make_node("Relu", [f"conv_{name}"], [f"relu_{name}"]))
        value = f"relu_{name}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, first, height, width])]
    outputs = [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "convolutions", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "threads"),
    [
        (1, 14, 14, (32, 48, 64), 2),
        (1, 7, 7, (16, 32, 32), 1),
        (2, 13, 11, (19, 37, 23), 2),
        (1, 5, 1, (3, 17, 1), 1),
    ],
)
def test_schedules_of_convolutions(
    batch: int, height: int, width: int, channels: tuple[int, int, int], threads: int, tmp_path: Path
) -> None:
    model = load_model(convolutions(batch, height, width, channels))
    options = resolve(model, "host", None, None, False, None, True, tuning_logs=tmp_path)
    subject = whole_model(lower_model(model, options), options.target, Cache())
    rng, plans = random.Random(0), []
    for workload in subject.workloads:
        space = space_of(workload.program, options.target, threads)
        if space is not None and all(argument.nbytes for argument in workload.arguments):
            search = KernelSearch(workload, describe(workload.program, workload.cost, space.default.rule), space)
            own = [one for one in space.decisions if one.rule == space.default.rule]
            plans.append(Plan(search, tuple(rng.sample(own, min(_MOST, len(own))))))
    settings, board = Settings(options.target, rounds=1), LocalBoard(threads)
    candidates = compile_plans(plans, subject, settings, Cache())
    check_candidates(candidates, subject, settings, Fleet([board]), Cache())
    board.close()
    assert candidates and not [(one.decision.text, one.failure) for one in candidates if one.failure]
    assert {"packed"} <= {one.decision.rule for one in candidates}
    for name in (SHARED, ROWS_SHARED):
        packed = [[one.parameters[name] for one in plan.decisions if one.rule == "packed"] for plan in plans]
        assert any(len(set(ways)) > 1 for ways in packed) == (threads > 1)


@pytest.mark.parametrize(
    ("rows", "threads", "ways"),
    [(256, 1, {AS_RECKONED}), (256, 2, {NEVER, AS_RECKONED}), (6, 2, {AS_RECKONED, ALWAYS})],
)
def test_threads_share_a_kernel_or_not(rows: int, threads: int, ways: set[int]) -> None:
    """Where there is more than one, and each way once."""
    target = load_target("x86-64-v4")
    space = space_of(product(rows, 64, 64), target, threads)
    assert space is not None and space.default.parameters[SHARED] == AS_RECKONED
    own = [one for one in [space.default, *space.decisions] if one.rule == space.default.rule]
    assert {one.parameters[SHARED] for one in own} == ways
    for way in ways:
        made = schedule(product(rows, 64, 64), target, replace(space.default, parameters={SHARED: way}))
        shared = way == ALWAYS or (way == AS_RECKONED and rows == 256)
        assert made.parameters[SHARED] == way and ("T.parallel" in str(made.func)) == shared
