"""The last round of a loop written out by itself, so that the others need no checks against the bound."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import ir, tirx

_KEY = "pragma_peel_last"  # TVM turns annotations of this form into statements around the loop


def mark_for_peeling(sch: Any, loop: Any) -> None:
    """Lets the last round of a loop be written out; `peel_last` has to be among the passes of code generation."""
    sch.annotate(loop, _KEY, True)


def peel_last() -> Any:
    """The pass, for after the loops are made plain and before they become vectors."""

    @tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]  # TVM has no annotations
    def peel(func: Any, _module: Any, _context: Any) -> Any:
        return func.with_body(tvm_ffi.structural_map(func.body, [(tirx.AttrStmt, _peel)]))

    return peel


def _peel(attribute: Any) -> Any:
    if str(attribute.attr_key) != _KEY:
        return attribute
    loop = attribute.body
    last = loop.extent - 1
    most = tirx.For(loop.loop_var, loop.min, last, loop.kind, loop.body)
    at_last = [(ir.Var, lambda var: last if var.same_as(loop.loop_var) else var)]
    return tirx.SeqStmt([most, tvm_ffi.structural_map(loop.body, at_last)])
