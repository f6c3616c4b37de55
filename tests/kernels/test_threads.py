"""What threads share: rows or channels, whichever loop goes around the other."""

from __future__ import annotations

from typing import Any

import pytest
import tvm_ffi
from tvm import te, tirx

from compiler.kernels.packed import ACCUMULATOR
from compiler.kernels.rule import ALWAYS, NEVER, ROWS_SHARED, SHARED, Decision
from compiler.kernels.schedule import schedule
from compiler.kernels.threads import IN_EVERY_TASK
from compiler.target import load_target

ROWS, ROWS_OF_TILE, BLOCKS, WIDTH, DEPTH = 56, 14, 6, 32, 48


def product() -> Any:
    """On packed weights, as the pass that packs them makes it."""
    x, w = te.placeholder((ROWS, DEPTH), name="x"), te.placeholder((BLOCKS, DEPTH, WIDTH), name="w")
    k = te.reduce_axis((0, DEPTH), "k")
    shape = (ROWS, BLOCKS, WIDTH)
    sums = te.compute(shape, lambda i, b, l: te.sum(x[i, k] * w[b, k, l], axis=k), name=ACCUMULATOR)
    y = te.compute((ROWS, BLOCKS * WIDTH), lambda i, j: sums[i, j // WIDTH, j % WIDTH], name="y")
    return te.create_prim_func([x, w, y], index_dtype_override="int64")


def made(**parameters: int) -> Any:
    decision = Decision("packed", {"rows": ROWS_OF_TILE, SHARED: ALWAYS, **parameters})
    found = schedule(product(), load_target("x86-64-v4"), decision)
    assert found.rule == "packed" and not found.failures
    return found.func


def nest(func: Any) -> list[Any]:
    """Its loops, from the outermost one on, down to where there are several beside each other."""
    found: list[Any] = []
    body = func.body
    while not isinstance(body, tirx.SeqStmt):
        if isinstance(body, tirx.For):
            found.append(body)
            body = body.body
        else:
            body = body.block.body
    return found


@pytest.mark.parametrize("outside", [0, 1])
@pytest.mark.parametrize("by_rows", [0, 1])
def test_threads_share_what_they_are_told_to(outside: int, by_rows: int) -> None:
    loops = nest(made(channels_outside=outside, **{ROWS_SHARED: by_rows}))
    tiles = ROWS // ROWS_OF_TILE
    parallel = [loop for loop in loops if loop.kind == tirx.ForKind.PARALLEL]
    assert len(parallel) == 1
    if outside == by_rows:  # the inner one of two loops
        assert [int(loop.extent) for loop in loops[:2]] == ([BLOCKS, tiles] if outside else [tiles, BLOCKS])
        assert parallel[0].same_as(loops[1]) and IN_EVERY_TASK in loops[0].annotations
    else:  # both, one after the other
        assert parallel[0].same_as(loops[0]) and int(loops[0].extent) == tiles * BLOCKS


def test_nothing_is_run_in_every_task_where_there_are_none() -> None:
    found: list[Any] = []
    func = made(channels_outside=1, **{ROWS_SHARED: 1, SHARED: NEVER})
    tvm_ffi.structural_walk(func, [(tirx.For, found.append)])
    assert not [loop for loop in found if loop.kind == tirx.ForKind.PARALLEL or IN_EVERY_TASK in loop.annotations]
