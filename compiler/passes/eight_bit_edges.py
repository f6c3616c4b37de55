"""Keeps tensors between kernels at 8 bits: what reads one turns it into floats itself, in its registers.

Fusion would rather end a kernel with a dequantisation than begin the next one with it, or give one that several read a
kernel of its own; both store floats, four times the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import ir, relax, tirx

from .rewrite import definitions_of, operator_of, readers_of, rewrite_calls, shape_of, variables_of
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
    bound: Any = builder.lookup_binding(call.args[0]) if isinstance(call.args[0], relax.Var) else None
    return bound is not None and _is_step(builder, bound)


def keep_eight_bits(module: tvm.IRModule) -> tvm.IRModule:
    """Parts a kernel of `main`, calls of programs, where it would store the real numbers of its 8-bit result.

    A reshape to the same shape does it, which is only another name for the tensor. It is left out where what follows
    cannot begin with the dequantisation.
    """
    ends = _stored_floats(module)
    if not ends:
        return module
    parted = _part(module, {end.cast for end in ends})
    # Casts keep their places among the calls that are no reshapes.
    failed = {end.place for end in _stored_floats(parted, inside=False)}
    if not failed:
        return parted
    good = {end.cast for end in ends if end.place not in failed}
    return _part(module, good) if good else module


@dataclass(frozen=True)
class _Stored:
    """A dequantisation whose result a kernel stores: the variable of its cast, and its place among such calls."""

    cast: Any
    place: int


def _stored_floats(module: tvm.IRModule, inside: bool = True) -> list[_Stored]:
    """Dequantisations at the end of kernels for one reader each, of tensors that are made `inside` of these or not."""
    definitions = definitions_of(module)
    if not any(_is_cast(value) for value in definitions.values()):
        return []
    readers, results = readers_of_calls(definitions), set(variables_of(module["main"].body.body))
    calls = [var for var, value in definitions.items() if isinstance(value, ir.Call)]
    group = dict(zip(calls, fusion_groups(module), strict=True))
    places = {var: n for n, var in enumerate(v for v in calls if operator_of(definitions[v]) == "relax.call_tir")}
    found = []
    for var in calls:
        read = readers.get(var, [])
        if len(read) != 1 or var in results or group.get(var) is None or group[var] == group.get(read[0]):
            continue
        cast = _cast_of(module, definitions, var)
        if cast is None or group[cast] != group[var]:
            continue
        source = definitions[cast].args[1].fields[0]
        if (group.get(source) == group[cast]) == inside:
            found.append(_Stored(cast, places[cast]))
    return found


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
