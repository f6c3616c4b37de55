"""What threads share: rows or channels, whichever loop goes around the other."""

from __future__ import annotations

from typing import Any

import pytest
import tvm_ffi
from tvm import tirx

from compiler.kernels.rule import ALWAYS, NEVER, ROWS_SHARED, SHARED, Decision
from compiler.kernels.schedule import schedule
from compiler.kernels.threads import IN_EVERY_TASK
from compiler.target import load_target
from tests.kernels.packed_product import packed_product

ROWS, ROWS_OF_TILE, BLOCKS, WIDTH, DEPTH = 56, 14, 6, 32, 48


def made(program: Any, **parameters: int) -> Any:
    decision = Decision("packed", {SHARED: ALWAYS, **parameters})
    found = schedule(program, load_target("x86-64-v4"), decision)
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
    loops = nest(
        made(
            packed_product(ROWS, DEPTH, BLOCKS * WIDTH, WIDTH),
            rows=ROWS_OF_TILE,
            channels_outside=outside,
            **{ROWS_SHARED: by_rows},
        )
    )
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
    func = made(
        packed_product(ROWS, DEPTH, BLOCKS * WIDTH, WIDTH), channels_outside=1, **{ROWS_SHARED: 1, SHARED: NEVER}
    )
    tvm_ffi.structural_walk(func, [(tirx.For, found.append)])
    assert not [loop for loop in found if loop.kind == tirx.ForKind.PARALLEL or IN_EVERY_TASK in loop.annotations]


@pytest.mark.parametrize(
    ("rows", "channels", "by_rows", "shared"),
    [
        (1, 1000, 0, 32),  # the last block is cut
        (7, 1000, 1, 32),  # a single tile of rows
        (ROWS + 1, BLOCKS * WIDTH, 1, 5),  # the last tile of rows overlaps
        (ROWS + 1, BLOCKS * WIDTH, 0, BLOCKS),
        (ROWS + 1, BLOCKS * WIDTH - 1, 1, 5),  # both
        (ROWS + 1, BLOCKS * WIDTH - 1, 0, BLOCKS),
        (ROWS + 1, 20, 1, 5),  # a single block
    ],
)
def test_tiles_and_blocks_that_do_not_divide_are_shared(rows: int, channels: int, by_rows: int, shared: int) -> None:
    program = packed_product(rows, DEPTH, channels, WIDTH)
    tile = min(rows, ROWS_OF_TILE)
    loops = nest(made(program, rows=tile, cut=0, channels_outside=0, **{ROWS_SHARED: by_rows}))
    assert [int(loop.extent) for loop in loops if loop.kind == tirx.ForKind.PARALLEL] == [shared]
