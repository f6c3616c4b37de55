"""Buffers without symbolic offsets."""

from __future__ import annotations

import tvm
from tvm import ir, relax, tirx

from compiler.passes.legalize import legalize
from compiler.passes.plain_buffers import make_buffers_plain
from tests.passes.relax_modules import module


def _symbolic(mod: tvm.IRModule) -> int:
    functions = [f for f in mod.functions.values() if isinstance(f, tirx.PrimFunc)]
    return sum(isinstance(p.ty.elem_offset, ir.Var) for f in functions for p in f.params)


def test_offsets_of_hand_written_programs_become_zero() -> None:
    before = legalize(module([((3, 4), "float32")], lambda x: relax.op.cumsum(x, 1)))
    assert _symbolic(before) > 0
    after = make_buffers_plain(before)
    assert _symbolic(after) == 0
    assert set(before.functions) == set(after.functions)


def test_other_programs_stay() -> None:
    before = legalize(module([((3, 4), "float32")], relax.op.exp))
    (var,) = (v for v in before.functions if v.name_hint != "main")
    assert make_buffers_plain(before)[var].same_as(before[var])
