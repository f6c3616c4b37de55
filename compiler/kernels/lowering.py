"""Passes of our own among TVM's that lower a scheduled program to code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tvm_ffi
from tvm import ir, tirx
from tvm.ir import _ffi_api

Change = Callable[[Any], Any]


def program_pass(change: Change) -> Any:
    """The pass that makes of every tensor program what `change` returns for it."""

    @tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]  # TVM has no annotations
    def run(func: Any, _module: Any, _context: Any) -> Any:
        return change(func)

    return run


def with_body(func: Any, body: Any) -> Any:
    """A tensor program with another body; the same program, which to make anew takes milliseconds, if it is its own."""
    return func if body.same_as(func.body) else func.with_body(body)


def nodes_of(value: Any, kind: type, test: Callable[[Any], bool] = lambda _: True) -> list[Any]:
    """The nodes of a class in an expression or statement that pass a test."""
    found: list[Any] = []
    tvm_ffi.structural_walk(value, [(kind, lambda node: found.append(node) if test(node) else None)])
    return found


def statements_of(statement: Any) -> Iterator[Any]:
    """The statements of a sequence, which may hold sequences; a statement by itself."""
    if isinstance(statement, tirx.SeqStmt):
        for part in statement:
            yield from statements_of(part)
    else:
        yield statement


def is_call(value: Any, *names: str) -> bool:
    """Whether it is a call of an operator whose name begins with one of these."""
    return isinstance(value, ir.Call) and str(getattr(value.op, "name", "")).startswith(names)


def define_operator(name: str, inputs: int) -> Any:
    """Registers a pure operator on numbers of tensor programs, which loops make one on vectors; a pass lowers it."""
    _ffi_api.RegisterOp(name, "see compiler/kernels")
    _ffi_api.OpSetNumInputs(ir.Op.get(name), inputs)
    ir.register_op_attr(name, "TCallEffectKind", tirx.CallEffectKind.Pure.value)
    ir.register_op_attr(name, "TVectorizable", True)
    ir.register_op_attr(name, "TScriptPrinterName", name.replace(".", "_"))
    return ir.Op.get(name)


def width_of(value: Any) -> int:
    """Lanes of an expression, 1 of a single number."""
    return int(str(value.ty.dtype).partition("x")[2] or 1)


def node_pass(kind: type, change: Change) -> Any:
    """The pass that makes of every node of a class what `change` returns for it, from the innermost to the outermost.

    Args:
        kind: a class of statements or expressions.
    """
    return program_pass(lambda func: with_body(func, tvm_ffi.structural_map(func.body, [(kind, change)])))
