"""Instructions that fetch weights early: what they point at, and where they stand."""

from __future__ import annotations

from typing import Any

import pytest
import tvm_ffi
from tvm import ir, sym, tirx

from compiler.kernels.rule import Decision
from compiler.kernels.schedule import schedule
from compiler.target import load_target
from tests.kernels.packed_product import packed_product


def fetched(func: Any) -> list[tuple[Any, Any]]:
    """The loops with instructions that fetch, and the elements these point at."""
    found: list[tuple[Any, Any]] = []

    def on_loop(loop: Any) -> None:
        statements = list(loop.body.seq) if isinstance(loop.body, tirx.SeqStmt) else [loop.body]
        for statement in statements:
            call = statement.value if isinstance(statement, tirx.Evaluate) else None
            if isinstance(call, ir.Call) and call.op.name == "tirx.prefetch":
                found.append((loop, call.args[0].args[0]))

    tvm_ffi.structural_walk(func, [(tirx.For, on_loop)])
    return found


@pytest.mark.parametrize("target,width", [("x86-64-v4", 32), ("x86-64-v2", 8), ("raspberry-pi-4", 8)])
def test_every_line_of_a_later_round_is_pointed_at(target: str, width: int) -> None:
    depth, ahead = 96, 16
    found = fetched(
        schedule(
            packed_product(50, depth, 4 * width, width), load_target(target), Decision("packed", {"prefetch": ahead})
        ).func
    )
    var, steps = found[0][0].loop_var, depth // int(found[0][0].extent)  # a round may take several steps of the sum
    for number, (loop, load) in enumerate(found):
        assert loop.loop_var.same_as(var) and load.source.name == "w"
        offset = load.indices[1] * width + load.indices[2]
        per_round, first = sym.detect_linear_equation(sym.Analyzer().simplify(offset), [var])
        assert int(per_round.value) == steps * width
        assert int(first.value) == ahead * steps * width + number * 16
    assert len(found) == -(-steps * width // 16)


def test_none_where_none_are_asked_for() -> None:
    assert (
        fetched(
            schedule(
                packed_product(50, 96, 4 * 32, 32), load_target("x86-64-v4"), Decision("packed", {"prefetch": 0})
            ).func
        )
        == []
    )
