"""A tensor program whose parameters lie in memory in 16 bits: loads are widened, and what is stored is narrowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tvm_ffi
from tvm import ir, s_tir, tirx

from ..kernels.float16 import LARGEST, SATURATES
from ..kernels.lowering import nodes_of
from ..kernels.packed import ACCUMULATOR, CONVERTED
from ..kernels.vectors import substitute

WIDE = "float32"
LIMITS = {"float16": LARGEST, "bfloat16": 3.3895313892515355e38}


def narrow_parameters(func: Any, changed: Sequence[bool], dtype: str) -> Any:
    """A PrimFunc whose parameters are of `dtype`, float16 or bfloat16, where `changed` says so."""
    made = _narrow(func, changed, dtype)
    return made.with_attr(SATURATES, True) if dtype == "float16" else made


def is_read(func: Any, param: Any) -> bool:
    """Whether a program reads a parameter, as sums do that stand in it, or takes its address."""
    found = False

    def on_var(var: Any) -> None:
        nonlocal found
        found = found or bool(var.same_as(param))

    def on_load(load: Any) -> None:
        on_var(load.source)

    def on_call(call: Any) -> None:
        for arg in call.args:
            on_var(arg)

    tvm_ffi.structural_walk(func.body, [(ir.TensorLoad, on_load), (ir.Call, on_call)])
    return found


def _narrow(func: Any, changed: Sequence[bool], dtype: str) -> Any:
    data = _data_of_product(func)
    buffers: dict[Any, Any] = {}  # of 16 bits
    own: dict[Any, Any] = {}  # of float32, in the place of some of them
    for param, change in zip(func.params, changed, strict=True):
        if not change:
            continue
        buffers[param] = tirx.decl_buffer(param.ty.shape, dtype, param.name, layout=None)
        if (_is_written(func, param) and is_read(func, param)) or (data is not None and param.same_as(data)):
            own[param] = tirx.decl_buffer(param.ty.shape, WIDE, f"{param.name}_wide", layout=None)

    def on_load(load: Any) -> Any:
        buffer = _of(buffers, load.source)
        if buffer is None or _of(own, load.source) is not None:
            return load
        narrow = tirx.BufferLoad(buffer, list(load.indices))
        return tirx.Cast(str(load.ty.dtype), narrow)

    def on_store(store: Any) -> Any:
        buffer = _of(buffers, store.buffer)
        if buffer is None or _of(own, store.buffer) is not None:
            return store
        return tirx.BufferStore(buffer, narrowed(store.value, dtype), list(store.indices))

    def on_cast(cast: Any) -> Any:
        again = isinstance(cast.value, tirx.Cast) and str(cast.value.value.ty.dtype) == str(cast.ty.dtype) == dtype
        return cast.value.value if again else cast

    changes = [(ir.TensorLoad, on_load), (tirx.BufferStore, on_store), (tirx.Cast, on_cast)]
    body = substitute(tvm_ffi.structural_map(func.body, changes), buffers | own)
    if own:
        before = [(buffers[param], wide) for param, wide in own.items() if data is not None and param.same_as(data)]
        behind = [(wide, buffers[param]) for param, wide in own.items() if data is None or not param.same_as(data)]
        body = _with_copies(body, before, behind)
    params = [_of(buffers, param) if _of(buffers, param) is not None else param for param in func.params]
    return tirx.PrimFunc(params, body, func.ret_type, func.attrs)


def _of(buffers: Mapping[Any, Any], var: Any) -> Any:
    return next((buffer for param, buffer in buffers.items() if param.same_as(var)), None)


def _is_written(func: Any, param: Any) -> bool:
    return bool(nodes_of(func.body, tirx.BufferStore, lambda store: store.buffer.same_as(param)))


def narrowed(value: Any, dtype: str) -> Any:
    """An expression of float32 in `dtype`; what is only moved there is not converted on the way."""
    if isinstance(value, tirx.Cast) and str(value.value.ty.dtype) == dtype:
        return value.value
    if isinstance(value, tirx.FloatImm):
        return tirx.FloatImm(dtype, max(-LIMITS[dtype], min(LIMITS[dtype], value.value)))
    if isinstance(value, tirx.Select) and _moves(value, dtype):
        return tirx.Select(value.condition, narrowed(value.true_value, dtype), narrowed(value.false_value, dtype))
    if _is_choice(value) and _moves(value, dtype):
        return tirx.if_then_else(value.args[0], narrowed(value.args[1], dtype), narrowed(value.args[2], dtype))
    return tirx.Cast(str(value.ty.dtype).replace(WIDE, dtype), value)


def _is_choice(value: Any) -> bool:
    return isinstance(value, ir.Call) and str(getattr(value.op, "name", "")).endswith(".if_then_else")


def _moves(value: Any, dtype: str) -> bool:
    """Whether an expression is elements of `dtype` and constants, chosen by conditions."""
    if isinstance(value, tirx.Select):
        return _moves(value.true_value, dtype) and _moves(value.false_value, dtype)
    if _is_choice(value):
        return _moves(value.args[1], dtype) and _moves(value.args[2], dtype)
    return isinstance(value, tirx.FloatImm) or (isinstance(value, tirx.Cast) and str(value.value.ty.dtype) == dtype)


def _with_copies(body: Any, before: Sequence[tuple[Any, Any]], behind: Sequence[tuple[Any, Any]]) -> Any:
    """The program's body with blocks around it that convert parameters, and into parameters.

    Args:
        before: pairs of a parameter, and the program's own buffer that takes its place.
        behind: pairs of such a buffer, and the parameter.
    """
    root = body.block
    parts = [_copy(*pair, CONVERTED) for pair in before]
    parts += [*(root.body.seq if isinstance(root.body, tirx.SeqStmt) else [root.body])]
    parts += [_copy(*pair, "narrowed") for pair in behind]
    buffers = [*root.alloc_buffers, *(wide for _, wide in before), *(wide for wide, _ in behind)]
    fields = (root.iter_vars, root.reads, root.writes, root.name_hint, tirx.SeqStmt(parts), root.init, buffers)
    block = s_tir.SBlock(*fields, root.match_buffers, root.annotations)
    return s_tir.SBlockRealize(list(body.iter_values), body.predicate, block)


def _data_of_product(func: Any) -> Any:
    """The parameter that a program on packed weights reads its data from; None if there is none."""
    found: list[Any] = []

    def on_block(block: Any) -> None:
        if block.name_hint.startswith(ACCUMULATOR):
            found.append(block.reads[0].source)

    tvm_ffi.structural_walk(func.body, [(s_tir.SBlock, on_block)])
    return next((param for param in func.params if found and param.same_as(found[0])), None)


def _copy(source: Any, made: Any, name: str) -> Any:
    """Loops around a block that stores what is in `source`, converted, in `made`."""
    extents = [int(size) for size in source.ty.shape]
    own, loops = ([tirx.Var(f"{letter}{n}", "int64") for n in range(len(extents))] for letter in "vi")
    region = [ir.Range.from_min_extent(var, tirx.IntImm("int64", 1)) for var in own]
    axes = [
        tirx.IterVar(ir.Range.from_min_extent(tirx.IntImm("int64", 0), tirx.IntImm("int64", extent)), var, 0)
        for var, extent in zip(own, extents, strict=True)
    ]
    store = tirx.BufferStore(made, tirx.Cast(str(made.ty.dtype), tirx.BufferLoad(source, own)), own)
    reads, writes = ([tirx.BufferRegion(buffer, region)] for buffer in (source, made))
    body = s_tir.SBlockRealize(loops, tirx.IntImm("bool", 1), s_tir.SBlock(axes, reads, writes, name, store))
    for var, extent in reversed(list(zip(loops, extents, strict=True))):
        body = tirx.For(var, tirx.IntImm("int64", 0), tirx.IntImm("int64", extent), tirx.ForKind.SERIAL, body)
    return body
