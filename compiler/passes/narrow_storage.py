"""Weights, and values that kernels hand on to each other, in 16 bits; registers, sums and the model's ends in float32.

Runs behind fusion, when it is known what lies in memory at all: the parameters of the fused programs change their
type, loads from them are widened, and what is stored in them is narrowed. Nothing is rounded inside a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tvm
from tvm import ir, relax, s_tir, tirx

from ..kernels.lowering import nodes_of
from .constants import constant
from .narrow_program import LIMITS, WIDE, is_read, narrow_parameters
from .rewrite import definitions_of, operator_of, rewrite_calls, variables_of

_VIEWS = frozenset(f"relax.{name}" for name in ("reshape", "expand_dims", "squeeze", "flatten"))


# Of variables of a module's `main`, those whose values are too large for 16 bits.
FindLarge = Callable[[tvm.IRModule, Sequence[Any]], Sequence[Any]]


def narrow_storage(
    module: tvm.IRModule, dtype: str, find_large: FindLarge | None = None, smallest: int = 0
) -> tvm.IRModule:
    """The module with what is narrowed of float32 in `dtype`, float16 or bfloat16.

    Stay as they are: what enters `main`, leaves it or passes through control flow; constants that are no weights, as
    biases, or that overflow; results of programs written by hand that read them again; and what `find_large` finds.

    Args:
        smallest: bytes of a value below which converting it costs more than moving it.
    """
    values = _Values(module)
    values.keep([var for var in values.narrow() if _bytes(var) < smallest])
    if find_large is not None:
        values.keep(find_large(module, values.narrow()))
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


def _bytes(var: Any) -> int:
    return 4 * math.prod(int(size) for size in var.ty.shape)


class _Values:
    """The values of `main` in sets that share memory, or are copied as they are: each set has one type."""

    def __init__(self, module: tvm.IRModule) -> None:
        self.module = module
        self.parent: dict[Any, Any] = {}
        self.fixed: set[Any] = set()
        self.overwritten: set[Any] = set()
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

    def narrow(self) -> list[Any]:
        """Variables whose values are narrowed, but for those that others overwrite."""
        return [
            var
            for var in self.calls
            if isinstance(var.ty, relax.TensorType) and self.is_narrow(var) == [True] and var not in self.overwritten
        ]

    def keep(self, variables: Sequence[Any]) -> None:
        """Leaves the sets that these variables are in as they are."""
        for var in variables:
            self._fix(var)

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
            self.overwritten.add(arguments[-1])
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
    return not is_read(func, param) or isinstance(func.body, s_tir.SBlockRealize)


def _weights_of(func: Any) -> set[int]:
    """The parameters that are read by anything but element-wise blocks, or there at places that data chooses."""
    plain: list[Any] = []
    for block in nodes_of(func.body, s_tir.SBlock):
        sums = any(axis.iter_type == tirx.IterVar.CommReduce for axis in block.iter_vars)
        if isinstance(block.body, tirx.BufferStore) and not sums:
            plain += [load.source for load in _loads(block.body) if not any(map(_loads, load.indices))]
    read = [load.source for load in _loads(func.body)]
    return {n for n, param in enumerate(func.params) if _count(param, read) > _count(param, plain)}


def _loads(node: Any) -> list[Any]:
    return nodes_of(node, ir.TensorLoad)


def _count(param: Any, sources: Sequence[Any]) -> int:
    return sum(bool(param.same_as(source)) for source in sources)


def _narrowed_constant(arg: Any, dtype: str) -> Any:
    """The constant in 16 bits, if it is a matrix or more and all of it fits."""
    if not isinstance(arg, ir.GenericConst) or str(arg.ty.dtype) != WIDE:
        return arg
    array = arg.value.numpy()
    if sum(size > 1 for size in array.shape) < 2 or not np.all(np.abs(array) <= LIMITS[dtype]):
        return arg
    return narrow_constant(array, dtype)


def narrow_constant(array: np.ndarray[Any, Any], dtype: str) -> Any:
    """A Relax constant of float16, or of bfloat16."""
    if dtype == "float16":
        return constant(array.astype(np.float16))
    return relax.const(array.astype(ml_dtypes.bfloat16), dtype)
