"""Functions of one 8-bit tensor as tables of their 256 values, which are computed here.

A kernel of its own that makes floats of 8-bit integers, an activation of these, and 8-bit integers of that reads one
table instead; where it reads a second tensor too that is itself such a function of the first, as a SiLU in two steps
does, both are one function. The values come from the program itself, in float32 and with the polynomials that kernels
compute (kernels/vector_math.py), but with every product rounded, which kernels may leave out before a sum: where that
decides between two integers, which takes a value within 1e-5 of a step of the middle, the table has the one that the
model's own arithmetic gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, te, tirx

from .constants import constant
from .evaluate import Array, NotComputed, evaluate
from .rewrite import operator_of, rewrite_calls, shape_of

_EIGHT_BITS = ("int8", "uint8")
_VALUES = 256
# Elements from which a table is worth its own 256 bytes of weights.
_FEWEST = 256


def use_tables(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrites the calls in `main` of fused programs that are functions of one 8-bit tensor."""
    # By variable: the one that it is a function of, and its value for each byte of that.
    functions: dict[Any, tuple[Any, Array]] = {}

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        if operator_of(call) == "relax.reshape" and shape_of(call) == shape_of(call.args[0]):
            # Another name for a tensor; it stays, for others than the kernels here.
            var = builder.emit(call)
            functions[var] = functions.get(call.args[0], (call.args[0], _identity(call.args[0])))
            return var
        found = _function(module, call, functions)
        if found is None:
            return call
        source, values = found
        var = builder.emit(builder.call_te(_look_up, source, constant(values), primfunc_name_hint="table"))
        functions[var] = found
        return var

    if not any(_makes_eight_bits(binding.value) for block in module["main"].body.blocks for binding in block.bindings):
        return module
    return relax.transform.DeadCodeElimination()(rewrite_calls(module, visit))


def _makes_eight_bits(call: Any) -> bool:
    single = operator_of(call) == "relax.call_tir" and isinstance(call.ty, relax.TensorType)
    return single and str(call.ty.dtype) in _EIGHT_BITS


def _identity(tensor: Any) -> Array:
    return np.arange(_VALUES, dtype=np.uint8).view(str(tensor.ty.dtype))


def _function(module: tvm.IRModule, call: Any, functions: dict[Any, tuple[Any, Array]]) -> tuple[Any, Array] | None:
    """What 8-bit tensor the result of a call is a function of, and its values by that one's bytes."""
    if not _makes_eight_bits(call) or int(np.prod(shape_of(call))) < _FEWEST:
        return None
    program, values, source = module[call.args[0]], [], None
    for arg in call.args[1].fields:
        if isinstance(arg, ir.GenericConst):
            array = arg.value.numpy()
            if array.size != 1 or str(arg.ty.dtype) == "bfloat16":
                return None
            values.append(array.reshape(()))
            continue
        if not isinstance(arg, relax.Var) or str(arg.ty.dtype) not in _EIGHT_BITS or shape_of(arg) != shape_of(call):
            return None
        of, value = functions.get(arg, (arg, _identity(arg)))
        if source is not None and not source.same_as(of):
            return None
        source = of
        values.append(value)
    if source is None or not isinstance(program, tirx.PrimFunc):
        return None
    try:
        return source, np.ascontiguousarray(np.broadcast_to(evaluate(program, values), _VALUES))
    except NotComputed:
        return None


def _look_up(data: Any, table: Any) -> Any:
    def value(*at: Any) -> Any:
        element = data[at]
        byte = element if str(data.dtype) == "uint8" else tirx.reinterpret("uint8", element)
        return table[tirx.Cast("int32", byte)]

    return te.compute(data.shape, value, name="table")
