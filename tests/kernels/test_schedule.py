"""The rules: which one takes a program, what it makes of its loops, and how tiles are chosen."""

from __future__ import annotations

from typing import Any

import pytest
import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st
from tvm import s_tir, te, tirx, topi

from compiler.kernels.analysis import Block, blocks_of
from compiler.kernels.blocks import largest_divisor
from compiler.kernels.limits import Limits, limits_of
from compiler.kernels.rule import Decision, Offer, Rule
from compiler.kernels.schedule import RULES, UNSCHEDULED, Scheduled, offers, schedule
from compiler.kernels.tile import choose_tile
from compiler.target import load_target
from tests.kernels.grid import floats

TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "raspberry-pi-4", "generic-armv7")


def program(*tensors: Any) -> Any:
    """A tensor program of TE tensors, inputs first."""
    return te.create_prim_func(list(tensors), index_dtype_override="int64")


def matmul(m: int, k: int, n: int, relu: bool = False) -> Any:
    a, b = te.placeholder((m, k), name="a"), te.placeholder((k, n), name="b")
    c = topi.nn.matmul(a, b)
    return program(a, b, topi.nn.relu(c) if relu else c)


def depthwise(channels: int) -> Any:
    x = te.placeholder((1, 18, 18, channels), name="x")
    w = te.placeholder((3, 3, 1, channels), name="w")
    return program(x, w, topi.nn.group_conv2d_nhwc(x, w, 1, 0, 1, channels))


def loops(scheduled: Scheduled, kind: Any = None) -> list[Any]:
    """The loops of a scheduled program, or those of one kind."""
    found: list[Any] = []
    tvm_ffi.structural_walk(scheduled.func, [(tirx.For, found.append)])
    return [loop for loop in found if kind is None or loop.kind == kind]


def has_bounds_check(scheduled: Scheduled) -> bool:
    found = []

    def on_realize(realize: Any) -> None:
        if not isinstance(realize.predicate, tirx.IntImm):
            found.append(realize)

    tvm_ffi.structural_walk(scheduled.func, [(s_tir.SBlockRealize, on_realize)])
    return bool(found)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("m,k,n", [(64, 64, 64), (197, 64, 197), (17, 64, 58), (1, 64, 1000)])
def test_products_are_tiled_in_vectors_without_bounds_checks(target: str, m: int, k: int, n: int) -> None:
    for relu in (False, True):
        scheduled = schedule(matmul(m, k, n, relu), load_target(target))
        assert scheduled.rule == "tile"
        vectors = loops(scheduled, tirx.ForKind.VECTORIZED)
        lanes = limits_of(load_target(target)).lanes
        assert len(vectors) == 3, "initialisation, update and result"
        assert {int(loop.extent.value) for loop in vectors} == {lanes}
        assert len(loops(scheduled, tirx.ForKind.PARALLEL)) == (m * k * n >= 1 << 15)
        assert not has_bounds_check(scheduled)


def test_results_of_a_tile_are_written_once() -> None:
    scheduled = schedule(matmul(64, 64, 64, relu=True), load_target("x86-64-v3"))
    allocated = []
    tvm_ffi.structural_walk(
        scheduled.func,
        [(s_tir.SBlock, lambda block: allocated.extend(b.scope() for b in block.alloc_buffers))],
    )
    assert allocated == ["local"], "sums live in registers"


@pytest.mark.parametrize("channels", [16, 29, 58])
def test_depthwise_convolutions_are_tiled(channels: int) -> None:
    scheduled = schedule(depthwise(channels), load_target("x86-64-v3"))
    assert scheduled.rule == "tile"
    assert loops(scheduled, tirx.ForKind.VECTORIZED) and not has_bounds_check(scheduled)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_in_groups_are_tiled(groups: int) -> None:
    x = te.placeholder((1, 10, 10, 32), name="x")
    w = te.placeholder((3, 3, 32 // groups, 64), name="w")
    y = topi.nn.group_conv2d_nhwc(x, w, 1, 0, 1, groups) if groups > 1 else topi.nn.conv2d_nhwc(x, w, 1, 0, 1)
    scheduled = schedule(program(x, w, y), load_target("x86-64-v3"))
    assert scheduled.rule == "tile"
    assert all(int(loop.extent.value) == 8 for loop in loops(scheduled, tirx.ForKind.VECTORIZED))


@pytest.mark.parametrize("shape", [(64, 512), (3, 5, 96)])
def test_element_wise_work_is_vectorised(shape: tuple[int, ...]) -> None:
    x, y = te.placeholder(shape, name="x"), te.placeholder(shape[-1:], name="y")
    scheduled = schedule(program(x, y, topi.add(topi.nn.relu(x), y)), load_target("x86-64-v3"))
    assert scheduled.rule == "injective"
    assert len(loops(scheduled, tirx.ForKind.VECTORIZED)) == 1
    assert len(loops(scheduled, tirx.ForKind.PARALLEL)) == (shape == (64, 512))


def test_a_sum_along_memory_is_vectorised_in_partial_sums() -> None:
    x = te.placeholder((64, 1024), "int32", name="x")
    scheduled = schedule(program(x, topi.sum(x, axis=1)), load_target("x86-64-v3"))
    assert scheduled.rule == "blocks"
    assert len(loops(scheduled, tirx.ForKind.VECTORIZED)) >= 2, "initialisation and update"
    assert len(loops(scheduled, tirx.ForKind.PARALLEL)) == 1


def test_a_softmax_across_rows_is_taken_block_by_block() -> None:
    x = te.placeholder((128, 512), name="x")
    scheduled = schedule(program(x, topi.nn.softmax(x, axis=0)), load_target("x86-64-v3"))
    assert scheduled.rule == "blocks"
    assert loops(scheduled, tirx.ForKind.VECTORIZED) and loops(scheduled, tirx.ForKind.PARALLEL)


def test_a_transpose_is_shared_by_threads_and_turned_in_registers() -> None:
    x = te.placeholder((1, 64, 40, 48), name="x")
    scheduled = schedule(program(x, topi.transpose(x, (0, 2, 3, 1))), load_target("x86-64-v3"))
    (shared,) = loops(scheduled, tirx.ForKind.PARALLEL)
    assert int(shared.extent.value) >= 16
    shuffles: list[Any] = []
    tvm_ffi.structural_walk(scheduled.func, [(tirx.Shuffle, shuffles.append)])
    assert len(shuffles) == 3 * 8, "three exchanges of eight vectors"


def test_small_work_stays_on_one_thread() -> None:
    x = te.placeholder((4, 16), name="x")
    assert not loops(schedule(program(x, topi.exp(x)), load_target("host")), tirx.ForKind.PARALLEL)


def test_a_program_that_no_rule_takes_runs_as_written_and_says_why() -> None:
    n = tirx.Var("n", "int64")
    x = te.placeholder((n,), name="x")
    func = program(x, topi.exp(x))
    scheduled = schedule(func, load_target("host"))
    assert scheduled.rule == UNSCHEDULED and scheduled.func.same_as(func)
    assert "dynamic extent" in scheduled.failures["blocks"]


def test_every_rule_that_failed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(reason: str) -> Rule:
        def rule(sch: Any, limits: Limits) -> Offer | None:
            raise ValueError(f"{reason}\nand more")

        return rule

    rules = (("first", failing("a")), ("other", lambda sch, limits: None), ("second", failing("b")), *RULES)
    monkeypatch.setattr("compiler.kernels.schedule.RULES", rules)
    x = te.placeholder((4, 16), name="x")
    scheduled = schedule(program(x, topi.exp(x)), load_target("host"))
    assert scheduled.rule == "injective"
    assert scheduled.failures == {"first": "a", "second": "b"}


def test_schedules_are_the_same_every_time() -> None:
    first, second = (schedule(matmul(17, 64, 58, True), load_target("host")).func.script() for _ in range(2))
    assert first == second


def test_analysis_sees_how_memory_is_read() -> None:
    x = te.placeholder((8, 16), name="x")

    def only(*tensors: Any) -> Block:
        (block,) = blocks_of(s_tir.Schedule(program(*tensors)))
        return block

    assert only(x, topi.nn.relu(x)).contiguous
    assert not only(x, topi.transpose(x)).contiguous
    assert only(x, topi.exp(x)).transcendental
    summed = only(x, topi.sum(x, axis=1))
    assert summed.reduction == (16,) and summed.contiguous_reduction and summed.work == 128
    assert not only(x, topi.sum(x, axis=0)).contiguous_reduction
    repeated = only(x, te.compute((8, 48), lambda i, j: x[i, j // 3], name="repeated"))
    assert repeated.contiguous and repeated.period == 3


limits = st.builds(Limits, st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([16, 32]))
extents = st.integers(1, 2000)


@given(st.lists(extents, min_size=1, max_size=4), st.sampled_from([0, 1, 2, 24, 29, 48]), limits)
def test_tiles_fit_the_tensor_and_the_registers(spatial: list[int], period: int, limits: Limits) -> None:
    if period:
        spatial[-1] = period * (1 + spatial[-1] % 7)
    rows, vectors, lanes = choose_tile(Block("b", tuple(spatial), (9,), True, False, period=period), limits)
    assert rows >= 1 and vectors >= 1 and 1 <= lanes <= limits.lanes and lanes & (lanes - 1) == 0
    assert vectors * lanes <= spatial[-1]
    assert rows <= (spatial[-2] if len(spatial) > 1 else 1)
    assert rows * vectors + vectors + 1 <= limits.registers
    assert period % (vectors * lanes) == 0, "a tile crosses no border of a group"
    assert (rows, vectors, lanes) == choose_tile(Block("b", tuple(spatial), (9,), True, False, period=period), limits)


@given(st.integers(1, 10_000), st.integers(1, 64))
def test_largest_divisor(extent: int, limit: int) -> None:
    divisor = largest_divisor(extent, limit)
    assert 1 <= divisor <= limit and extent % divisor == 0
    assert not any(extent % d == 0 for d in range(divisor + 1, min(extent, limit) + 1))


def test_seeded_arrays_depend_on_their_name_alone() -> None:
    assert (floats("a", 3) == floats("a", 3)).all() and (floats("a", 3) != floats("b", 3)).any()


@pytest.mark.parametrize(
    "made", [lambda: matmul(17, 64, 58, True), lambda: depthwise(29), lambda: reduced(), lambda: exponential()]
)
def test_every_rule_offers_its_parameters_to_a_tuner(made: Any) -> None:
    """All values of all spaces make a valid schedule, and the default is one of them."""
    target = load_target("x86-64-v3")
    rule, offer = next(iter(offers(made(), target).items()))
    assert set(offer.default) == set(offer.space)
    for name, values in offer.space.items():
        assert offer.default[name] in values
        for value in values:
            scheduled = schedule(made(), target, Decision(rule, {name: value}))
            assert scheduled.rule == rule and scheduled.parameters == {**offer.default, name: value}


def reduced() -> Any:
    x = te.placeholder((64, 1024), name="x")
    return program(x, topi.sum(x, axis=1))


def exponential() -> Any:
    x = te.placeholder((64, 512), name="x")
    return program(x, topi.exp(x))


@pytest.mark.parametrize(
    "parameters, why", [({"rows": 50}, "rows=50"), ({"rows": 0}, "rows=0"), ({"color": 1}, "no parameter color")]
)
def test_what_is_not_offered_is_not_done(parameters: dict[str, int], why: str) -> None:
    """A tile with more rows than there are would write before the result."""
    target, program = load_target("x86-64-v4"), matmul(7, 64, 64, True)
    plain = schedule(program, target)
    scheduled = schedule(program, target, Decision(plain.rule, parameters))
    assert (scheduled.rule, scheduled.parameters) == (plain.rule, plain.parameters)
    assert why in scheduled.failures[plain.rule]
