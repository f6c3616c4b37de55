"""Rewrites `main` call by call: the one traversal that our Relax passes share, and what they ask of expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, relax

_FUSES_ELEMENTWISE = 4  # TVM's kOutEWiseFusable

Visit = Callable[[relax.BlockBuilder, Any], Any]


def operator_of(expr: Any) -> str:
    """The name of the operator that an expression calls, `relax.add` for one; empty if it is no such call."""
    return str(getattr(getattr(expr, "op", None), "name", ""))


def is_channels_last(conv: Any) -> bool:
    """Whether a conv2d is in the one layout inside, NHWC, with output channels of weights last."""
    attrs = conv.attrs
    return str(attrs.data_layout) == "NHWC" == str(attrs.out_layout) and str(attrs.kernel_layout) == "HWIO"


def fuse_elementwise(module: tvm.IRModule, prefixes: str | tuple[str, ...]) -> tvm.IRModule:
    """Lets what follows element by element join the kernels of tensor programs whose names begin so."""
    for variable, function in list(module.functions.items()):
        if variable.name_hint.startswith(prefixes):
            module.update_func(variable, function.with_attr("op_pattern", _FUSES_ELEMENTWISE))
    return module


def bound_to(builder: relax.BlockBuilder, expr: Any) -> Any:
    """What a variable that the builder has emitted stands for; None of a parameter, and of anything else."""
    return builder.lookup_binding(expr) if isinstance(expr, relax.Var) else None


def rearrange(
    builder: relax.BlockBuilder, source: Any, parts: Sequence[int], order: Sequence[int], whole: Sequence[int]
) -> Any:
    """`source` reshaped to `parts`, transposed, and reshaped to `whole`."""
    made = builder.emit(relax.op.permute_dims(builder.emit(relax.op.reshape(source, parts)), order))
    return made if shape_of(made) == tuple(whole) else builder.emit(relax.op.reshape(made, whole))


def cut(builder: relax.BlockBuilder, source: Any, cuts: Sequence[tuple[int, int, int]]) -> Any:
    """What lies in `source` from begin to end along each of some axes: (axis, begin, end)."""
    return builder.emit(relax.op.strided_slice(source, *map(list, zip(*cuts, strict=True)))) if cuts else source


def shape_of(expr: Any) -> tuple[int, ...]:
    return tuple(int(d) for d in expr.ty.shape)


def item_bytes(expr: Any) -> int:
    """Bytes of an element of a tensor."""
    return int(tvm_ffi.dtype(str(expr.ty.dtype)).itemsize)


def rewrite_calls(module: tvm.IRModule, visit: Visit) -> tvm.IRModule:
    """A module with each call in `main`, straight-line code, replaced by what `visit` returns for it.

    Args:
        visit: gets the block builder and a call whose arguments are rewritten already (a constant where the
            argument became one); returns the call itself or an expression to stand in its place.
    """
    main = module["main"]
    values: dict[Any, Any] = {}
    # What `visit` makes with call_te are new tensor programs, which join those that are there.
    functions = {v: f for v, f in module.functions.items() if v.name_hint != "main"}
    builder = relax.BlockBuilder(tvm.IRModule(functions, attrs=module.attrs))

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
    return builder.get()


def definitions_of(module: tvm.IRModule) -> dict[Any, Any]:
    """The expressions of `main`, straight-line code, by the variables that they are bound to."""
    return {binding.var: binding.value for block in module["main"].body.blocks for binding in block.bindings}


def readers_of(definitions: Mapping[Any, Any]) -> dict[Any, list[Any]]:
    """By variable, those that are bound to calls that get it as an argument."""
    readers: dict[Any, list[Any]] = {}
    for var, expr in definitions.items():
        for arg in expr.args if isinstance(expr, ir.Call) else []:
            if isinstance(arg, relax.Var):
                readers.setdefault(arg, []).append(var)
    return readers


def count_uses(module: tvm.IRModule) -> dict[Any, int]:
    """How often each variable of `main` is read; as a result counts too."""
    counts: dict[Any, int] = {}

    for expr in [*definitions_of(module).values(), module["main"].body.body]:
        for var in variables_of(expr):
            counts[var] = counts.get(var, 0) + 1
    return counts


def variables_of(expr: Any) -> list[Any]:
    """The variables that an expression reads, each as often as it stands there."""
    if isinstance(expr, relax.Var):
        return [expr]
    if isinstance(expr, relax.TupleGetItem):
        return variables_of(expr.tuple_value)
    parts = expr.fields if isinstance(expr, relax.Tuple) else expr.args if isinstance(expr, ir.Call) else ()
    return [var for part in parts for var in variables_of(part)]


def replace_bindings(
    module: tvm.IRModule, values: Mapping[Any, Callable[[relax.BlockBuilder], Any]], result: Any = None
) -> tvm.IRModule:
    """A module in which some variables of `main` are computed another way, from variables before them.

    Args:
        result: what `main` returns; None for what it did.
    """
    main = module["main"]
    builder = relax.BlockBuilder()
    with builder.function("main", params=list(main.params), attrs=dict(main.attrs.items()) if main.attrs else {}):
        with builder.dataflow():
            for block in main.body.blocks:
                for binding in block.bindings:
                    if binding.var in values:
                        value = builder.normalize(values[binding.var](builder))
                        builder.emit_normalized(relax.VarBinding(binding.var, value))
                    else:
                        builder.emit_normalized(binding)
            result = builder.emit_output(builder.normalize(main.body.body if result is None else result))
        builder.emit_func_output(result)
    made = builder.get()
    functions = {v: f for v, f in module.functions.items() if v.name_hint != "main"}
    return tvm.IRModule(functions | dict(made.functions.items()), attrs=module.attrs)
