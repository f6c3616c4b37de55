"""Vectors that do not divide an axis: the last round of a loop works on shorter ones, of powers of two.

With a bounds check for each element instead, all rounds would compute them one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import s_tir, sym, tirx

from .analysis import uses
from .marks import rewrite_marked
from .overlap import without
from .vectors import substitute

_KEY = "edgec.tail"


def mark_tail(sch: Any, loop: Any) -> None:
    """Tells of a loop in whose last round alone vectors are cut short; `cut_tails` has to follow."""
    sch.annotate(loop, _KEY, [1])


def cut_tails(func: Any) -> Any:
    """Gives vectors in marked loops a branch for the last round."""
    return rewrite_marked(func, _KEY, _with_branches)


def _with_branches(loop: Any, _values: Sequence[Any]) -> Any:
    last = loop.extent - 1

    def on_loop(inner: Any) -> Any:
        around = [inner] if inner.kind == tirx.ForKind.UNROLLED else []
        lanes = inner.body if around else inner
        if not isinstance(lanes, tirx.For) or lanes.kind != tirx.ForKind.VECTORIZED:
            return inner
        realize = lanes.body
        if not isinstance(realize, s_tir.SBlockRealize) or not uses(realize.predicate, loop.loop_var):
            return inner
        short = _tail(around, lanes, realize, {loop.loop_var: last})
        if short is None:
            return inner
        whole = _with_body(lanes, _realize(realize, without(realize.predicate, loop.loop_var), {}))
        return tirx.IfThenElse(loop.loop_var < last, _with_body(inner, whole) if around else whole, short)

    return tvm_ffi.structural_map(loop.body, [(tirx.For, on_loop)])


def _tail(around: Sequence[Any], lanes: Any, realize: Any, last: dict[Any, Any]) -> Any:
    """The last round, written out; None if it cannot be told which elements it has.

    Places are by the marked loop's variable as in all rounds, so that those of a tile of accumulators, which begins
    where the round does, stay constants. Else it would not be in registers, not even in the other rounds.
    """
    parts = []
    for number in range(int(around[0].extent)) if around else [0]:
        own = {loop.loop_var: tirx.const(number, str(loop.loop_var.ty.dtype)) for loop in around}
        count = _count(realize.predicate, lanes, last | own)
        if count is None:
            return None
        begin, dtype = 0, str(lanes.loop_var.ty.dtype)
        while begin < count:
            size = 1 << ((count - begin).bit_length() - 1)
            lane = tirx.Var(lanes.loop_var.name, dtype)
            at = {lanes.loop_var: (lane if size > 1 else tirx.const(0, dtype)) + tirx.const(begin, dtype)}
            part = _realize(realize, tirx.IntImm("bool", 1), own | at)
            zero, extent = tirx.const(0, dtype), tirx.const(size, dtype)
            parts.append(tirx.For(lane, zero, extent, tirx.ForKind.VECTORIZED, part) if size > 1 else part)
            begin += size
    if not parts:
        return None
    return tirx.SeqStmt(parts) if len(parts) > 1 else parts[0]


def _count(predicate: Any, lanes: Any, values: dict[Any, Any]) -> int | None:
    """How many of the first lanes, and only these, a predicate lets pass."""
    analyzer, passed = sym.Analyzer(), []
    for lane in range(int(lanes.extent)):
        at = tirx.const(lane, str(lanes.loop_var.ty.dtype))
        simple = analyzer.simplify(substitute(predicate, values | {lanes.loop_var: at}))
        if not isinstance(simple, tirx.IntImm):
            return None
        passed.append(bool(simple.value))
    count = sum(passed)
    return count if all(passed[:count]) else None


def _with_body(loop: Any, body: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)


def _realize(realize: Any, predicate: Any, values: dict[Any, Any]) -> Any:
    places = [substitute(value, values) for value in realize.iter_values]
    return s_tir.SBlockRealize(places, predicate, realize.block)
