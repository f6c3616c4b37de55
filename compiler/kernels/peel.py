"""The last round of a loop written out by itself, so that the others need no checks against the bound."""

from __future__ import annotations

from typing import Any

from tvm import tirx

from .lowering import node_pass
from .vectors import substitute

_KEY = "pragma_peel_last"  # TVM turns annotations of this form into statements around the loop


def mark_for_peeling(sch: Any, loop: Any) -> None:
    """Lets the last round of a loop be written out; `peel_last` has to be among the passes of code generation."""
    sch.annotate(loop, _KEY, True)


def split_cut(sch: Any, loop: Any, size: int, extent: int) -> tuple[Any, Any]:
    """Splits a loop over `extent` into tiles of `size`, of which the last one has what is left.

    The outer loop must be neither fused nor split further, and the inner one unrolled.
    """
    outer, inner = sch.split(loop, [None, size])
    if extent % size:
        mark_for_peeling(sch, outer)
    return outer, inner


def peel_last() -> Any:
    """The pass, for after the loops are made plain and before they become vectors."""
    return node_pass(tirx.AttrStmt, _peel)


def _peel(attribute: Any) -> Any:
    if str(attribute.attr_key) != _KEY:
        return attribute
    loop = attribute.body
    last = loop.extent - 1
    most = tirx.For(loop.loop_var, loop.min, last, loop.kind, loop.body)
    return tirx.SeqStmt([most, substitute(loop.body, {loop.loop_var: last})])
