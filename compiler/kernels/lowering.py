"""Passes of our own among TVM's that lower a scheduled program to code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import tirx

Change = Callable[[Any], Any]


def program_pass(change: Change) -> Any:
    """The pass that makes of every tensor program what `change` returns for it."""

    @tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]  # TVM has no annotations
    def run(func: Any, _module: Any, _context: Any) -> Any:
        return change(func)

    return run


def node_pass(kind: type, change: Change) -> Any:
    """The pass that makes of every node of a class what `change` returns for it, from the innermost to the outermost.

    Args:
        kind: a class of statements or expressions.
    """
    return program_pass(lambda func: func.with_body(tvm_ffi.structural_map(func.body, [(kind, change)])))
