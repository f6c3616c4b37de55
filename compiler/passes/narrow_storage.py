"""Weights, and values that kernels hand on to each other, in 16 bits; registers, sums and the model's ends in float32.

Runs behind fusion, when it is known what lies in memory at all: the parameters of the fused programs change their
type, loads from them are widened, and what is stored in them is narrowed. Nothing is rounded inside a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import ir, relax, s_tir, tirx

from ..kernels.float16 import LARGEST, SATURATES
from ..kernels.packed import ACCUMULATOR, CONVERTED
from ..kernels.vectors import substitute
from .constants import constant
from .rewrite import definitions_of, operator_of, rewrite_calls, variables_of

WIDE = "float32"
_VIEWS = frozenset(f"relax.{name}" for name in ("reshape", "expand_dims", "squeeze", "flatten"))
_LARGEST = {"float16": LARGEST, "bfloat16": 3.3895313892515355e38}


def narrow_storage(module: tvm.IRModule, dtype: str) -> tvm.IRModule:
    """The module with what is narrowed of float32 in `dtype`, float16 or bfloat16.

    Stay as they are: what enters `main`, leaves it or passes through control flow; constants that are no weights, as
    biases, or that overflow; and results of programs written by hand that read them again.
    """
    values = _Values(module)
    narrowed = iter([values.is_narrow(var) for var in values.calls])
    programs: dict[Any, Any] = {}

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        narrow = next(narrowed)
        name = operator_of(call)
        if name in _VIEWS:
            return builder.normalize(ir.Call(call.op, list(call.args), call.attrs))
        if name not in ("relax.call_tir", "relax.call_tir_inplace"):
            return call
        variable, arguments = call.args[0], list(call.args[1].fields)
        func = module[variable]
        weights = _weights_of(func)
        arguments = [_narrowed_constant(arg, dtype) if n in weights else arg for n, arg in enumerate(arguments)]
        types = list(call.ty.fields) if isinstance(call.ty, relax.TupleType) else [call.ty]
        types = [relax.TensorType(ty.shape, dtype) if low else ty for ty, low in zip(types, narrow, strict=True)]
        results = [] if name.endswith("inplace") else types
        changed = tuple(
            str(ty.dtype) == dtype and str(param.ty.dtype) == WIDE
            for param, ty in zip(func.params, [*(arg.ty for arg in arguments), *results], strict=True)
        )
        if any(changed):
            key = (variable, changed)
            if key not in programs:
                programs[key] = builder.add_func(narrow_parameters(func, changed, dtype), variable.name_hint)
            variable = programs[key]
        made = types if isinstance(call.ty, relax.TupleType) else types[0]
        if name.endswith("inplace"):
            return relax.op.call_tir_inplace(variable, relax.Tuple(arguments), list(call.attrs.inplace_indices), made)
        return relax.call_tir(variable, relax.Tuple(arguments), made)

    return relax.transform.DeadCodeElimination()(rewrite_calls(module, visit))


class _Values:
    """The values of `main` in sets that share memory, or are copied as they are: each set has one type."""

    def __init__(self, module: tvm.IRModule) -> None:
        self.module = module
        self.parent: dict[Any, Any] = {}
        self.fixed: set[Any] = set()
        definitions = definitions_of(module)
        self.calls = [var for var, value in definitions.items() if isinstance(value, ir.Call)]
        main = module["main"]
        for var in [*main.params, *variables_of(main.body.body)]:
            self._fix(var)
        for var, value in definitions.items():
            self._bind(var, value)

    def is_narrow(self, var: Any) -> list[bool]:
        """Of each result that a call has."""
        return [self._root(key) not in self.fixed for key in self._keys(var)]

    def _bind(self, var: Any, value: Any) -> None:
        if isinstance(value, relax.Var):
            for one, other in zip(self._keys(var), self._keys(value), strict=True):
                self._join(one, other)
        elif isinstance(value, relax.TupleGetItem):
            self._join((var, 0), (value.tuple_value, value.index))
        elif operator_of(value) in _VIEWS:
            self._join((var, 0), (value.args[0], 0))
        elif operator_of(value) in ("relax.call_tir", "relax.call_tir_inplace"):
            self._bind_program(var, value)
        else:
            for one in (var, *variables_of(value)):
                self._fix(one)

    def _bind_program(self, var: Any, call: Any) -> None:
        func, arguments = self.module[call.args[0]], list(call.args[1].fields)
        inplace = operator_of(call).endswith("inplace")
        if inplace:
            self._join((var, 0), (arguments[-1], 0))
        if _only_moves(func):
            for arg in arguments:
                self._join((var, 0), (arg, 0))
        results = func.params[-1:] if inplace else func.params[len(arguments) :]
        for key, param in zip(self._keys(var), results, strict=True):
            if str(param.ty.dtype) != WIDE or not _can_store(func, param):
                self.fixed.add(self._root(key))

    def _keys(self, var: Any) -> list[Any]:
        count = len(var.ty.fields) if isinstance(var.ty, relax.TupleType) else 1
        return [(var, number) for number in range(count)]

    def _fix(self, var: Any) -> None:
        self.fixed |= {self._root(key) for key in self._keys(var)}

    def _root(self, key: Any) -> Any:
        while key in self.parent:
            key = self.parent[key]
        return key

    def _join(self, one: Any, other: Any) -> None:
        if not isinstance(other[0], relax.Var):  # a constant
            self.fixed.add(self._root(one))
            return
        one, other = self._root(one), self._root(other)
        if one != other:
            self.parent[one] = other
            if one in self.fixed:
                self.fixed.add(other)


def _only_moves(func: Any) -> bool:
    """Whether a program stands for a copy that the memory plan may spare."""
    return any(key in (func.attrs or {}) for key in ("edgec.paste", "edgec.cut"))


def _can_store(func: Any, param: Any) -> bool:
    """Whether what a program stores in a parameter can be narrowed there, or in a block of its own behind."""
    return not _is_read(func, param) or isinstance(func.body, s_tir.SBlockRealize)


def _is_read(func: Any, param: Any) -> bool:
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


def _weights_of(func: Any) -> set[int]:
    """The parameters that are read by anything but element-wise blocks, or there at places that data chooses."""
    blocks: list[Any] = []
    tvm_ffi.structural_walk(func.body, [(s_tir.SBlock, blocks.append)])
    plain: list[Any] = []
    for block in blocks:
        sums = any(axis.iter_type == tirx.IterVar.CommReduce for axis in block.iter_vars)
        if isinstance(block.body, tirx.BufferStore) and not sums:
            plain += [load.source for load in _loads(block.body) if not any(map(_loads, load.indices))]
    read = [load.source for load in _loads(func.body)]
    return {n for n, param in enumerate(func.params) if _count(param, read) > _count(param, plain)}


def _loads(node: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(node, [(ir.TensorLoad, found.append)])
    return found


def _count(param: Any, sources: Sequence[Any]) -> int:
    return sum(bool(param.same_as(source)) for source in sources)


def _narrowed_constant(arg: Any, dtype: str) -> Any:
    """The constant in 16 bits, if it is a matrix or more and all of it fits."""
    if not isinstance(arg, ir.GenericConst) or str(arg.ty.dtype) != WIDE:
        return arg
    array = arg.value.numpy()
    if sum(size > 1 for size in array.shape) < 2 or not np.all(np.abs(array) <= _LARGEST[dtype]):
        return arg
    return narrow_constant(array, dtype)


def narrow_constant(array: np.ndarray[Any, Any], dtype: str) -> Any:
    """A Relax constant of float16, or of bfloat16."""
    if dtype == "float16":
        return constant(array.astype(np.float16))
    import ml_dtypes

    return relax.const(array.astype(ml_dtypes.bfloat16), dtype)


def narrow_parameters(func: Any, changed: Sequence[bool], dtype: str) -> Any:
    """A PrimFunc whose parameters are of `dtype` where `changed` says so: loads are widened, and stores narrowed."""
    data = _data_of_product(func)
    buffers: dict[Any, Any] = {}  # of 16 bits
    own: dict[Any, Any] = {}  # of float32, in the place of some of them
    for param, change in zip(func.params, changed, strict=True):
        if not change:
            continue
        buffers[param] = tirx.decl_buffer(param.ty.shape, dtype, param.name, layout=None)
        if (_is_written(func, param) and _is_read(func, param)) or (data is not None and param.same_as(data)):
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
    made = tirx.PrimFunc(params, body, func.ret_type, func.attrs)
    return made.with_attr(SATURATES, True) if dtype == "float16" else made


def _of(buffers: Mapping[Any, Any], var: Any) -> Any:
    return next((buffer for param, buffer in buffers.items() if param.same_as(var)), None)


def _is_written(func: Any, param: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(func.body, [(tirx.BufferStore, lambda store: found.append(store.buffer))])
    return any(buffer.same_as(param) for buffer in found)


def narrowed(value: Any, dtype: str) -> Any:
    """An expression of float32 in `dtype`; what is only moved there is not converted on the way."""
    if isinstance(value, tirx.Cast) and str(value.value.ty.dtype) == dtype:
        return value.value
    if isinstance(value, tirx.FloatImm):
        return tirx.FloatImm(dtype, max(-_LARGEST[dtype], min(_LARGEST[dtype], value.value)))
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
