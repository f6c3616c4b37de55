"""Programs along rows: which ones the rule takes, how they are cut into stages and passes."""

from __future__ import annotations

from typing import Any

import pytest
import tvm_ffi
from tvm import s_tir, te, tirx, topi

from compiler.kernels.schedule import Scheduled, schedule
from compiler.kernels.stages import Stage, stage_of
from compiler.target import load_target
from tests.kernels.test_schedule import loops, program


def softmax(*shape: int, dtype: str = "float32", axis: int = -1) -> Any:
    x = te.placeholder(shape, dtype, name="x")
    return program(x, topi.nn.softmax(x, axis))


def layer_norm(rows: int, size: int) -> Any:
    x, g, b = (te.placeholder(s, name=n) for n, s in (("x", (rows, size)), ("g", (size,)), ("b", (size,))))
    return program(x, g, b, topi.nn.layer_norm(x, g, b, [1], 1e-5))


def on(func: Any, target: str = "x86-64-v4") -> Scheduled:
    return schedule(func, load_target(target))


def stages(func: Any, shape: tuple[int, ...]) -> list[Stage | None]:
    sch = s_tir.Schedule(func)
    return [stage_of(sch.get(rv), shape) for rv in sch.get_child_blocks(sch.get_sblock("root"))]


@pytest.mark.parametrize("func", [softmax(4, 17), softmax(2, 3, 64), layer_norm(197, 192), softmax(1, 9)])
def test_the_rule_takes_programs_along_contiguous_rows(func: Any) -> None:
    assert on(func).rule == "rows"


def test_results_of_8_bits_belong_to_it() -> None:
    x = te.placeholder((100, 70), name="x")
    rounded = topi.round(topi.divide(topi.nn.softmax(x, -1), tirx.const(0.01, "float32")))
    assert on(program(x, topi.cast(topi.clip(rounded, 0.0, 255.0), "uint8"))).rule == "rows"


@pytest.mark.parametrize("func", [softmax(4, 17, axis=0), softmax(4, 17, dtype="float64"), softmax(2, 3, 64, axis=1)])
def test_others_are_left(func: Any) -> None:
    assert on(func).rule != "rows"


@pytest.mark.parametrize("target,size", [("x86-64-v4", 9), ("x86-64-v3", 8), ("x86-64-v2", 4), ("raspberry-pi-4", 4)])
def test_rows_shorter_than_a_vector_are_left(target: str, size: int) -> None:
    assert on(softmax(100, size), target).rule == "rows"
    assert on(softmax(100, size - 1), target).rule == "blocks"
    assert on(layer_norm(100, size - 1), target).rule == "blocks"


def test_means_of_rows_belong_to_it() -> None:
    x = te.placeholder((100, 70), name="x")
    mean = topi.divide(topi.sum(x, axis=1, keepdims=True), tirx.const(70.0, "float32"))
    assert on(program(x, mean)).rule == "rows"


def test_blocks_are_rows_sums_or_numbers() -> None:
    assert [s and s.kind for s in stages(softmax(4, 17), (4, 17))] == ["sum", "row", "sum", "row"]
    assert [s and s.kind for s in stages(layer_norm(4, 17), (4, 17))] == ["sum", "number", "sum", "row"]
    assert stages(softmax(4, 17), (4, 18)) == [None] * 4


def test_sums_that_need_each_other_take_passes_of_their_own() -> None:
    # The maximum; exponentials with their sum; the quotients.
    serial = [loop for loop in loops(on(softmax(1, 160)), tirx.ForKind.SERIAL) if int(loop.extent) == 5]
    assert len(serial) == 3


@pytest.mark.parametrize("size,lanes", [(160, {16}), (100, {16}), (15, {8}), (9, {8})])
def test_rows_of_any_length_are_read_in_whole_vectors(size: int, lanes: set[int]) -> None:
    vectors = {int(loop.extent) for loop in loops(on(softmax(3, size)), tirx.ForKind.VECTORIZED)}
    halves = {n for n in (8, 4, 2) if n < max(lanes, default=0)}  # that fold sums
    assert vectors == lanes | halves


def test_only_sums_leave_out_what_an_overlap_repeats() -> None:
    def selections(func: Any) -> int:
        found: list[Any] = []
        tvm_ffi.structural_walk(on(func).func, [(tirx.Select, found.append)])
        return sum(isinstance(select.condition, tirx.GE) for select in found)

    assert selections(layer_norm(1, 64)) == 0
    assert selections(layer_norm(1, 65)) == 2
    assert selections(softmax(1, 65)) == 1  # not the maximum


def test_numbers_are_computed_once_a_row() -> None:
    divisions: list[Any] = []
    tvm_ffi.structural_walk(on(softmax(4, 64)).func, [(tirx.Div, divisions.append)])
    assert divisions and all(isinstance(d.a, tirx.FloatImm) for d in divisions)  # 1 / sum, and then products


@pytest.mark.parametrize("count,size,together", [(1, 192, 1), (5, 192, 4), (197, 192, 8), (6, 1 << 14, 1)])
def test_rows_go_together_where_the_cache_holds_them(count: int, size: int, together: int) -> None:
    assert on(layer_norm(count, size)).parameters["rows"] == together


@pytest.mark.parametrize("rows,shared", [(4, 0), (400, 1)])
def test_threads_share_rows_if_there_are_many(rows: int, shared: int) -> None:
    assert len(loops(on(layer_norm(rows, 192)), tirx.ForKind.PARALLEL)) == shared
