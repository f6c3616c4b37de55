"""Rewrites `main` call by call; the one traversal that our Relax passes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import ir, relax

Visit = Callable[[relax.BlockBuilder, Any], Any]


def rewrite_calls(module: tvm.IRModule, visit: Visit) -> tvm.IRModule:
    """A module with each call in `main`, straight-line code, replaced by what `visit` returns for it.

    Args:
        visit: gets the block builder and a call whose arguments are rewritten already (a constant where the
            argument became one); returns the call itself or an expression to stand in its place.
    """
    main = module["main"]
    values: dict[Any, Any] = {}
    builder = relax.BlockBuilder()

    def substitute(expr: Any) -> Any:
        if isinstance(expr, relax.Var):
            return values.get(expr, expr)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([substitute(field) for field in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            source = substitute(expr.tuple_value)
            return (
                source.fields[expr.index] if isinstance(source, relax.Tuple) else relax.TupleGetItem(source, expr.index)
            )
        if isinstance(expr, ir.Call):
            return ir.Call(expr.op, [substitute(a) for a in expr.args], expr.attrs, expr.ty_args, ret_ty=expr.ty)
        return expr

    with builder.function("main", params=list(main.params), attrs=dict(main.attrs.items()) if main.attrs else {}):
        with builder.dataflow():
            for block in main.body.blocks:
                for binding in block.bindings:
                    value = substitute(binding.value)
                    if isinstance(value, ir.Call):
                        value = visit(builder, value)
                    atom = isinstance(value, relax.Var | ir.GenericConst | relax.Tuple)
                    values[binding.var] = value if atom else builder.emit(value)
            result = builder.emit_output(builder.normalize(substitute(main.body.body)))
        builder.emit_func_output(result)
    made = builder.get()
    # What `visit` made with call_te are new tensor programs, which join those that were there.
    functions = {v: f for v, f in module.functions.items() if v.name_hint != "main"}
    return tvm.IRModule(functions | dict(made.functions.items()), attrs=module.attrs)
