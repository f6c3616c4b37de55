"""Keeps tensors between kernels at 8 bits: what reads one turns it into floats itself, in its registers.

Fusion would rather end a kernel with a dequantisation than begin the next one with it, or give one that several read a
kernel of its own; both store floats, four times the bytes.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import ir, relax, tirx

from .rewrite import bound_to, definitions_of, operator_of, readers_of, rewrite_calls, shape_of, variables_of
from .views import fusion_groups

_EIGHT_BITS = ("int8", "uint8")
_BROADCAST = 1  # TVM's kBroadcast; element-wise is 0
_MOST_STEPS = 3  # of a dequantisation: a cast, the zero point and the scale


def dequantise_for_each_reader(module: tvm.IRModule) -> tvm.IRModule:
    """Gives each call in `main` that reads the real numbers of an 8-bit tensor a dequantisation of its own."""
    return relax.transform.DeadCodeElimination()(rewrite_calls(module, _dequantised_again))


def _dequantised_again(builder: relax.BlockBuilder, call: Any) -> Any:
    if _is_step(builder, call):
        return call

    def again(expr: Any) -> Any:
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([again(field) for field in expr.fields])
        steps: list[Any] = []
        while isinstance(expr, relax.Var) and _is_step(builder, bound := builder.lookup_binding(expr)):
            steps.append(bound)
            expr = bound.args[0]
        for step in reversed(steps):
            expr = builder.emit(ir.Call(step.op, [expr, *step.args[1:]], step.attrs, step.ty_args))
        return expr

    args = [again(arg) for arg in call.args]
    if all(new.same_as(old) for new, old in zip(args, call.args, strict=True)):
        return call
    return ir.Call(call.op, args, call.attrs, call.ty_args, ret_ty=call.ty)


def _is_step(builder: relax.BlockBuilder, call: Any) -> bool:
    """Whether a call is part of a dequantisation: a cast of 8 bits, a difference or product of one and a constant."""
    name = operator_of(call)
    if name == "relax.astype":
        return str(call.args[0].ty.dtype) in _EIGHT_BITS and str(call.ty.dtype) == "float32"
    if name not in ("relax.subtract", "relax.multiply") or not isinstance(call.args[1], ir.GenericConst):
        return False
    bound: Any = bound_to(builder, call.args[0])
    return bound is not None and _is_step(builder, bound)


def keep_eight_bits(module: tvm.IRModule) -> tvm.IRModule:
    """Parts a kernel of `main`, calls of programs, between an 8-bit tensor and its real numbers.

    Where it would store these, and where it goes on with a sum, the other part of which another kernel has to store
    for it. A reshape to the same shape does it, which is only another name for the tensor. It is left out where what
    follows cannot begin with the dequantisation.
    """
    if not any(_is_cast(value) for value in definitions_of(module).values()):
        return module
    kernels = _Kernels(module)
    ends = kernels.stored_floats()
    if ends:
        parted = _Kernels(_part(module, set(ends)))
        # Casts keep their places among the calls that are no reshapes.
        failed = {parted.place(cast) for cast in parted.stored_floats(inside=False)}
        good = {cast for cast in ends if kernels.place(cast) not in failed}
        kernels = _Kernels(_part(module, good)) if failed else parted
    sums = kernels.sums()
    if sums:
        parted = _Kernels(_part(kernels.module, sums))
        kernels = min(kernels, parted, key=_Kernels.wide_elements)
    return kernels.module


class _Kernels:
    """The calls of `main` and the kernels that fusion makes of them."""

    def __init__(self, module: tvm.IRModule) -> None:
        self.module, self.definitions = module, definitions_of(module)
        self.readers, self.results = readers_of_calls(self.definitions), set(variables_of(module["main"].body.body))
        self.calls = [var for var, value in self.definitions.items() if isinstance(value, ir.Call)]
        self.group = dict(zip(self.calls, fusion_groups(module), strict=True))
        programs = [var for var in self.calls if operator_of(self.definitions[var]) == "relax.call_tir"]
        self._places = {var: place for place, var in enumerate(programs)}

    def place(self, var: Any) -> int:
        """Of a call among those of programs."""
        return self._places[var]

    def stored_floats(self, inside: bool = True) -> list[Any]:
        """Casts that begin dequantisations at the end of kernels, of tensors that are made `inside` of these or not."""
        found = []
        for var in self.calls:
            read = self.readers.get(var, [])
            if len(read) != 1 or var in self.results or not self._is_stored(var):
                continue
            cast = _cast_of(self.module, self.definitions, var)
            if cast is not None and self.group[cast] == self.group[var] and self._is_inside(cast) == inside:
                found.append(cast)
        return found

    def sums(self) -> set[Any]:
        """Casts that begin dequantisations inside of kernels, which go on with what another kernel stores for them."""
        found = set()
        for var in self.calls:
            read = self.readers.get(var, [])
            if len(read) != 1 or self.group.get(var) is None or self.group[var] != self.group.get(read[0]):
                continue
            cast = _cast_of(self.module, self.definitions, var)
            if cast is None or not self._is_inside(cast):
                continue
            others = [other for other in variables_of(self.definitions[read[0]]) if not other.same_as(var)]
            if any(self._is_stored(other) and _is_wide(other) for other in others):
                found.add(cast)
        return found

    def wide_elements(self) -> int:
        """How many elements of more than 8 bits kernels store for others."""
        stored = (var for var in self.calls if self._is_stored(var) and _is_wide(var))
        return sum(math.prod(shape_of(var)) for var in stored)

    def _is_inside(self, cast: Any) -> bool:
        """Whether a kernel makes what it dequantises."""
        return bool(self.group.get(self.definitions[cast].args[1].fields[0]) == self.group[cast])

    def _is_stored(self, var: Any) -> bool:
        """Whether another kernel reads a value, or a call of something else."""
        group = self.group.get(var)
        return group is not None and any(self.group.get(read) != group for read in self.readers.get(var, []))


def _is_wide(var: Any) -> bool:
    return isinstance(var.ty, relax.TensorType) and str(var.ty.dtype) in ("float32", "int32")


def readers_of_calls(definitions: dict[Any, Any]) -> dict[Any, list[Any]]:
    """By variable, those bound to what reads it, as an argument in a tuple too."""
    readers = readers_of(definitions)
    for var, expr in definitions.items():
        for read in variables_of(expr):
            if var not in readers.setdefault(read, []):
                readers[read].append(var)
    return readers


def _is_cast(call: Any) -> bool:
    """Whether a call of a program makes floats, or integers of 32 bits, of one 8-bit tensor."""
    if operator_of(call) != "relax.call_tir" or not isinstance(call.ty, relax.TensorType):
        return False
    fields = call.args[1].fields
    one = len(fields) == 1 and isinstance(fields[0], relax.Var) and str(call.ty.dtype) in ("float32", "int32")
    return one and str(fields[0].ty.dtype) in _EIGHT_BITS and shape_of(fields[0]) == shape_of(call)


def _cast_of(module: tvm.IRModule, definitions: dict[Any, Any], var: Any) -> Any:
    """The variable of the cast that a dequantisation begins with, if a value is the result of one."""
    for _ in range(_MOST_STEPS):
        call: Any = definitions.get(var)
        if operator_of(call) != "relax.call_tir":
            return None
        program = module[call.args[0]]
        if not isinstance(program, tirx.PrimFunc) or int(program.attrs.get("op_pattern", 8)) > _BROADCAST:
            return None
        if _is_cast(call):
            return var
        variables = [field for field in call.args[1].fields if isinstance(field, relax.Var)]
        if len(variables) != 1:
            return None
        var = variables[0]
    return None


def _part(module: tvm.IRModule, casts: set[Any]) -> tvm.IRModule:
    """The module with what these casts read under another name."""
    order = iter([var in casts for var, value in definitions_of(module).items() if isinstance(value, ir.Call)])

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        if not next(order):
            return call
        source = call.args[1].fields[0]
        named = builder.emit(relax.op.reshape(source, shape_of(source)))
        return ir.Call(call.op, [call.args[0], relax.Tuple([named])], call.attrs, call.ty_args, ret_ty=call.ty)

    return rewrite_calls(module, visit)
