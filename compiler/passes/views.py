"""Chooses the copies that the memory plan can spare, and keeps them apart from other programs.

A concatenation whose operands are made by kernels need not be computed: the kernels can write into it. The same
holds for the padding of a convolution's input, of which only the border has to be filled, and a slice can be read
where it is. Here such an operator becomes one program for each part that it copies, which fusion leaves alone; what
remains of them is decided when kernels and values are known (build/views.py). A copy that is fused with the
arithmetic before or after it costs nothing, and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import ir, relax

from .copies import CONCAT, PAD, PAD_VALUE, SLICE
from .regions import border, cut, paste
from .rewrite import operator_of, rewrite_calls, shape_of, variables_of

_NUMBER = "edgec.call"


def choose_views(module: tvm.IRModule) -> tvm.IRModule:
    """Takes apart the copies in `main`, as lowered by `lower_copies`, that are worth it."""
    chosen = iter(_Graph(module).choose())

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        copy = next(chosen)
        return call if copy is None else _EMIT[copy.kind](builder, call, copy)

    return rewrite_calls(module, visit)


@dataclass(frozen=True)
class _Copy:
    """A program that only copies: CONCAT, SLICE or PAD, and what it says of itself."""

    kind: str
    where: Any
    value: Any = None


class _Graph:
    """The calls of `main`: who makes a value, who reads it, and what fusion puts together."""

    def __init__(self, module: tvm.IRModule) -> None:
        main = module["main"]
        self.module = module
        self.makers = {b.var: b.value for block in main.body.blocks for b in block.bindings}
        self.readers: dict[Any, list[Any]] = {}
        for var, value in self.makers.items():
            for read in variables_of(value):
                self.readers.setdefault(read, []).append(var)
        result = self._owner(main.body.body)
        result = self.makers[result] if isinstance(self.makers.get(result), relax.Tuple) else result
        self.results = {self._owner(var) for var in variables_of(result)}
        groups = fusion_groups(module)
        calls = [var for var, value in self.makers.items() if isinstance(value, ir.Call)]
        self.group = {var: group for var, group in zip(calls, groups, strict=True) if group is not None}
        self.calls = calls
        self.views: set[Any] = set()  # results of the copies that are chosen
        self.moved: set[Any] = set()  # values that have got their place in another

    def choose(self) -> list[_Copy | None]:
        """For each call in order: the copy that it is, if it is chosen."""
        found = [(var, self._copy(var)) for var in self.calls]
        return [copy if copy and self._is_worth_it(var, copy) else None for var, copy in found]

    def _copy(self, var: Any) -> _Copy | None:
        call = self.makers[var]
        if operator_of(call) == "relax.call_tir":
            attrs = self.module[call.args[0]].attrs or {}
            for kind in (CONCAT, SLICE, PAD):
                if kind in attrs:
                    return _Copy(kind, attrs[kind], attrs.get(PAD_VALUE))
        return None

    def _is_worth_it(self, var: Any, copy: _Copy) -> bool:
        operands = list(self.makers[var].args[1].fields)
        readers = self.readers.get(var, [])
        if any(self._same_kernel(var, reader) and not self._copy(reader) for reader in readers):
            return False
        if copy.kind == SLICE:
            if var in self.results or self._same_kernel(operands[0], var):
                return False
        else:
            movable = {self._owner(x) for x in operands if self._is_movable(x)}
            if all(self._same_kernel(x, var) for x in movable):
                return False
            self.moved |= movable
        self.views.add(var)
        return True

    def _same_kernel(self, made: Any, read: Any) -> bool:
        """Whether fusion computes a value in the kernel of one of its readers."""
        group = self.group.get(made)
        return made not in self.views and group is not None and group == self.group.get(read)

    def _is_movable(self, value: Any) -> bool:
        """Whether a kernel makes this value, and can make it in another place."""
        owner = self._owner(value)
        if owner not in self.makers or owner in self.results or owner in self.moved:
            return False
        if isinstance(self.makers[owner], relax.TupleGetItem):
            return True
        copy = self._copy(owner)
        return not (copy and copy.kind == SLICE and owner in self.views)

    def _owner(self, value: Any) -> Any:
        """The value that this one is another name or shape of."""
        while (source := self.makers.get(value)) is not None:
            if operator_of(source) == "relax.reshape":
                value = source.args[0]
            elif isinstance(source, relax.Var):
                value = source
            else:
                break
        return value


def fusion_groups(module: tvm.IRModule) -> list[int | None]:
    """For each call in `main`: a number of the kernel that fusion puts it into; None if it calls no program.

    Asked of fusion itself, with a program of its own for each call.
    """
    count = 0

    def number(builder: relax.BlockBuilder, call: Any) -> Any:
        nonlocal count
        count += 1
        if operator_of(call) != "relax.call_tir":
            return call
        program = builder.add_func(module[call.args[0]].with_attr(_NUMBER, count - 1), "call")
        return ir.Call(call.op, [program, *call.args[1:]], call.attrs, call.ty_args, ret_ty=call.ty)

    fused = relax.transform.FuseOps()(rewrite_calls(module, number))
    groups: list[int | None] = [None] * count
    for group, function in enumerate(fused.functions.values()):
        if not isinstance(function, relax.Function):
            continue
        alone = not (function.attrs and "Primitive" in function.attrs)
        for block in function.body.blocks:
            for binding in block.bindings:
                value = binding.value
                if operator_of(value) == "relax.call_tir":
                    number_ = int(fused[value.args[0]].attrs[_NUMBER])
                    groups[number_] = -1 - number_ if alone else group
    return groups


def _emit_concat(builder: relax.BlockBuilder, call: Any, copy: _Copy) -> Any:
    axis, whole = int(copy.where), shape_of(call)
    begins, result = [0] * len(whole), None
    for operand in call.args[1].fields:
        result = _paste(builder, operand, result, whole, begins)
        begins[axis] += shape_of(operand)[axis]
    return result


def _emit_pad(builder: relax.BlockBuilder, call: Any, copy: _Copy) -> Any:
    (operand,), whole, begins = call.args[1].fields, shape_of(call), [int(b) for b in copy.where]
    program = border(whole, shape_of(operand), begins, copy.value, str(call.ty.dtype))
    empty = builder.emit(relax.call_tir(builder.add_func(program, "border"), relax.Tuple([]), call.ty))
    return _paste(builder, operand, empty, whole, begins)


def _paste(builder: relax.BlockBuilder, part: Any, rest: Any, whole: Sequence[int], begins: Sequence[int]) -> Any:
    """`rest`, or nothing, with `part` in it."""
    ty = relax.TensorType(whole, part.ty.dtype)
    program = builder.add_func(paste(shape_of(part), whole, begins, str(ty.dtype)), "paste")
    if rest is None:
        return builder.emit(relax.call_tir(program, relax.Tuple([part]), ty))
    return builder.emit(relax.op.call_tir_inplace(program, relax.Tuple([part, rest]), 1, ty))


def _emit_slice(builder: relax.BlockBuilder, call: Any, copy: _Copy) -> Any:
    (operand,), begins = call.args[1].fields, [int(b) for b in copy.where]
    program = cut(shape_of(operand), shape_of(call), begins, str(call.ty.dtype))
    return relax.call_tir(builder.add_func(program, "cut"), relax.Tuple([operand]), call.ty)


_EMIT = {CONCAT: _emit_concat, PAD: _emit_pad, SLICE: _emit_slice}
