"""Estimated times, and which programs get threads by them."""

from __future__ import annotations

import dataclasses

import pytest
from tvm import te

from compiler.kernels.cost import Cost
from compiler.kernels.estimate import seconds_on_one_core
from compiler.kernels.limits import limits_of
from compiler.kernels.schedule import schedule
from compiler.target import list_targets, load_target

PI5 = load_target("raspberry-pi-5")  # 4 cores, 38.4 GFLOP/s each, 16 bytes in a register, 64 KiB L1, 512 KiB L2
CALL = 20e-9


def cost(flops: int = 0, size: int = 0, iterations: int = 1, dtype: str = "float32") -> Cost:
    return Cost(flops, size // 2, size - size // 2, iterations, dtype)


def test_dense_work_is_bound_by_the_share_of_the_peak_that_its_rule_reaches() -> None:
    assert seconds_on_one_core(cost(10**9), PI5, "packed") == pytest.approx(1 / (38.4 * 0.85), rel=1e-3)
    assert seconds_on_one_core(cost(10**9, dtype="int8"), PI5, "packed") == pytest.approx(
        1 / (4 * 38.4 * 0.85), rel=1e-3
    )
    assert seconds_on_one_core(cost(10**9), PI5) > seconds_on_one_core(cost(10**9), PI5, "packed")


@pytest.mark.parametrize(
    ("kib", "gbs"), [(64, 2.4 * 16 * 2), (512, 2.4 * 16), (2048, 2.4 * 16 * 0.4), (100_000, 2.4 * 16 * 0.4)]
)
def test_moving_bytes_is_bound_by_the_cache_that_holds_them(kib: int, gbs: float) -> None:
    assert seconds_on_one_core(cost(size=kib * 1024), PI5) == pytest.approx(kib * 1024 / (gbs * 1e9) + CALL)


def test_memory_is_no_faster_than_its_bus() -> None:
    slow = dataclasses.replace(PI5, memory_bandwidth_gbs=1.0)
    assert seconds_on_one_core(cost(size=10**8), slow) == pytest.approx(0.1, rel=1e-3)
    assert seconds_on_one_core(cost(size=10**5), slow) < 1e-5


def test_a_shared_cache_is_shared() -> None:
    shared = dataclasses.replace(PI5, caches=dataclasses.replace(PI5.caches, l2_shared=True))
    size = cost(size=200 * 1024)
    assert seconds_on_one_core(size, shared) > 2 * seconds_on_one_core(size, PI5)


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint16", "float8_e4m3fn", "handle"])
def test_any_type_has_an_estimate(dtype: str) -> None:
    for target in list_targets():
        assert seconds_on_one_core(cost(1000, 1000, dtype=dtype), target) > CALL


def test_small_programs_stay_on_one_thread() -> None:
    """A launch of 1,000 cycles has to be saved twice over by two threads: 1.67 µs of work at 2.4 GHz."""
    threshold = 4 * 1000 / 2.4e9
    small, large = (
        cost(int(38.4e9 * 0.85 * (seconds - CALL)), iterations=10**6) for seconds in (0.9 * threshold, 1.1 * threshold)
    )
    assert limits_of(PI5, small, "packed").parallel_work > small.iterations
    assert limits_of(PI5, large, "packed").parallel_work <= large.iterations


def test_iterations_that_cost_more_get_threads_sooner() -> None:
    cheap, dear = (limits_of(PI5, cost(flops * 10**4, iterations=10**4)) for flops in (1, 100))
    assert dear.parallel_work * 50 < cheap.parallel_work
    assert dataclasses.replace(dear, parallel_work=0) == dataclasses.replace(limits_of(PI5), parallel_work=0)


def test_launches_are_quicker_on_faster_cores() -> None:
    slow = dataclasses.replace(PI5, memory_bandwidth_gbs=5.0)
    fast = dataclasses.replace(slow, clusters=(dataclasses.replace(PI5.clusters[0], ghz=4.8),))
    work = cost(size=10**9, iterations=10**8)  # bound by memory, so that one core takes as long
    assert limits_of(fast, work).parallel_work == pytest.approx(limits_of(slow, work).parallel_work / 2, rel=1e-2)


def test_an_empty_program_has_limits() -> None:
    assert limits_of(PI5, cost(iterations=0)).parallel_work > 0


@pytest.mark.parametrize(("size", "shared"), [(1 << 10, False), (1 << 22, True)])
def test_schedules_follow_the_estimate(size: int, shared: bool) -> None:
    x = te.placeholder((size,), name="x")
    y = te.compute((size,), lambda i: x[i] * 2.0, name="y")
    scheduled = schedule(te.create_prim_func([x, y]), PI5)
    assert ("T.parallel" in scheduled.func.script()) == shared
