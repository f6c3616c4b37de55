"""The kernel of attention: its tiles, its products and what it keeps in memory."""

from __future__ import annotations

from typing import Any

import pytest
import tvm_ffi
from tvm import relax, tirx

from compiler.kernels.limits import limits_of
from compiler.kernels.rule import Decision
from compiler.kernels.schedule import Scheduled, schedule
from compiler.passes.attention import fuse_attention
from compiler.target import load_target
from tests.kernels.test_schedule import loops
from tests.passes.relax_modules import module


def attention(batch: int, queries: int, keys: int, depth: int, turned: bool = False) -> Any:
    """The program of softmax(q kᵀ) v, of transposed keys; or of keys as they are, which have to be turned."""

    def body(q: Any, k: Any, v: Any) -> Any:
        scores = relax.op.matmul(q, relax.op.permute_dims(k, [0, 2, 1]) if turned else k)
        return relax.op.matmul(relax.op.nn.softmax(scores, -1), v)

    shapes = ((batch, queries, depth), (batch, keys, depth) if turned else (batch, depth, keys), (batch, keys, depth))
    fused = fuse_attention(module([(shape, "float32") for shape in shapes], body))
    return fused["attention"]


def on(target: str, *sizes: int, **parameters: int) -> Scheduled:
    return schedule(attention(*sizes), load_target(target), Decision("attention", parameters))


def buffers(scheduled: Scheduled) -> list[tuple[str, int]]:
    """Scope and elements of what it allocates."""
    found: list[Any] = []
    tvm_ffi.structural_walk(scheduled.func, [(tirx.AllocBuffer, found.append)])
    sizes = [[int(d) for d in allocation.buffer.ty.shape] for allocation in found]
    return [
        (str(a.buffer.ty.storage_scope), size[0] * (size[1] if len(size) > 1 else 1))
        for a, size in zip(found, sizes, strict=True)
    ]


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "raspberry-pi-5", "generic-armv7"])
@pytest.mark.parametrize("sizes", [(3, 197, 197, 64), (2, 128, 128, 64), (1, 1, 50, 7), (12, 5, 3, 1)])
def test_sums_have_room_in_registers(target: str, sizes: tuple[int, int, int, int]) -> None:
    scheduled, limits = on(target, *sizes), limits_of(load_target(target))
    assert scheduled.rule == "attention"
    rows, vectors = scheduled.parameters["rows"], scheduled.parameters["vectors"]
    assert 1 <= rows <= sizes[1] and rows * vectors + vectors + 1 <= limits.registers


def test_rows_that_divide_the_queries_are_preferred() -> None:
    assert on("x86-64-v4", 2, 128, 128, 64).parameters["rows"] == 8
    assert 197 % on("x86-64-v4", 3, 197, 197, 64).parameters["rows"] >= 8


def test_no_matrix_of_queries_and_keys_is_kept() -> None:
    rows = on("x86-64-v4", 3, 197, 197, 64).parameters["rows"]
    assert max(size for _scope, size in buffers(on("x86-64-v4", 3, 197, 197, 64))) == rows * 197


def test_long_rows_of_scores_leave_the_stack() -> None:
    assert {scope for scope, _size in buffers(on("x86-64-v4", 1, 64, 500, 16))} == {"local"}
    assert {scope for scope, _size in buffers(on("x86-64-v4", 1, 64, 5000, 16))} == {"local", "global"}


@pytest.mark.parametrize("sizes,shared", [((1, 3, 9, 4), []), ((3, 197, 197, 64), [3 * 25])])
def test_threads_share_heads_and_tiles_of_queries(sizes: tuple[int, int, int, int], shared: list[int]) -> None:
    scheduled = on("x86-64-v4", *sizes, rows=8 if shared else 2, vectors=2)
    assert [int(loop.extent) for loop in loops(scheduled, tirx.ForKind.PARALLEL)] == shared


def test_scores_of_a_few_queries_are_sums_along_rows_of_keys() -> None:
    scheduled = schedule(attention(2, 1, 50, 40, turned=True), load_target("x86-64-v4"))
    # 40 elements are two vectors of 16 and one that repeats 8; the values take another loop over keys.
    assert sorted(int(loop.extent) for loop in loops(scheduled, tirx.ForKind.SERIAL))[:1] == [2]
    overlaps: list[Any] = []
    tvm_ffi.structural_walk(scheduled.func, [(tirx.GE, overlaps.append)])
    assert 8 in {int(overlap.b) for overlap in overlaps}


def test_what_is_left_of_the_keys_is_a_narrower_tile() -> None:
    # 70 keys are a tile of two vectors of 16, taken twice, and one of a single vector that overlaps it.
    scheduled = on("x86-64-v4", 1, 8, 70, 32, rows=8, vectors=2)
    sums = {size for _scope, size in buffers(scheduled)}
    assert {8 * 32, 8 * 16} <= sums
