"""Functions of functions, as Mish's tanh(log(1 + exp(x))), one after the other.

Each becomes a polynomial of its argument; written out within each other they would grow without bounds.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx

from .accesses import is_conditional
from .lowering import node_pass, nodes_of
from .vector_math import is_expanded


def separate_nested_math() -> Any:
    """The pass that computes an inner function first, into a buffer that becomes a register; after vectorising."""

    def separate(store: Any) -> Any:
        before = []
        while (inner := _innermost(store.value)) is not None:
            lanes = tvm.DataType(str(inner.ty.dtype)).lanes
            buffer = tirx.decl_buffer((lanes,), "float32", "inner", scope="local")
            at = [tirx.IntImm("int32", 0)]
            if lanes > 1:
                at = [tirx.Ramp(at[0], tirx.IntImm("int32", 1), lanes)]
            before += [tirx.AllocBuffer(buffer), tirx.BufferStore(buffer, inner, at)]
            load = tirx.BufferLoad(buffer, at)
            instead = [(ir.Call, lambda c, i=inner, r=load: r if tvm_ffi.structural_equal(c, i) else c)]
            value = tvm_ffi.structural_map(store.value, instead)
            store = tirx.BufferStore(store.buffer, value, store.indices)
        return tirx.SeqStmt([*before, store]) if before else store

    return node_pass(tirx.BufferStore, separate)


def _innermost(value: Any) -> Any:
    """A function whose result another one is computed from, and which has none inside; None if there is no such."""
    calls = _calls(value)
    if len(calls) < 2 or nodes_of(value, ir.Call, is_conditional):
        return None  # in a condition, it might be computed where it must not be
    bound = [let.var for let in nodes_of(value, tirx.Let)]
    for call in calls:
        for inner in _calls(call.args[0]):
            used = nodes_of(inner, ir.Var, lambda var: any(var.same_as(one) for one in bound))
            if not used and not _calls(inner.args[0]):
                return inner
    return None


def _calls(value: Any) -> list[Any]:
    return nodes_of(value, ir.Call, is_expanded)
