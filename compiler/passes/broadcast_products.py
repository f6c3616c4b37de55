"""Ends the kernels of products where their results are broadcast.

Behind a product fusion goes on through all that works element by element. Where that repeats its result along an axis,
as a gate of one number a channel over an image, the kernel would have the image's loops, with the product inside.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import ir, relax, tirx

from .patterns import BROADCAST, OUT_ELEMENTWISE
from .rewrite import definitions_of, operator_of, rewrite_calls, shape_of


def end_before_broadcasts(module: tvm.IRModule) -> tvm.IRModule:
    """Gives what is broadcast another name, by a reshape to its own shape, at which fusion ends."""
    ends = _ends(module)
    if not ends:
        return module
    order = iter([ends.get(var, set()) for var, value in definitions_of(module).items() if isinstance(value, ir.Call)])

    def visit(builder: relax.BlockBuilder, call: Any) -> Any:
        places = next(order)
        if not places:
            return call
        fields = [
            builder.emit(relax.op.reshape(field, shape_of(field))) if place in places else field
            for place, field in enumerate(call.args[1].fields)
        ]
        return ir.Call(call.op, [call.args[0], relax.Tuple(fields)], call.attrs, call.ty_args, ret_ty=call.ty)

    return rewrite_calls(module, visit)


def _ends(module: tvm.IRModule) -> dict[Any, set[int]]:
    """By variable of a call, which of its arguments are results of products that it broadcasts."""
    found: dict[Any, set[int]] = {}
    products: set[Any] = set()  # what kernels of products make
    for var, call in definitions_of(module).items():
        if operator_of(call) != "relax.call_tir" or not isinstance(call.ty, relax.TensorType):
            continue
        program = module[call.args[0]]
        pattern = int(program.attrs.get("op_pattern", BROADCAST + 1)) if isinstance(program, tirx.PrimFunc) else None
        if pattern == OUT_ELEMENTWISE:
            products.add(var)
        if pattern is None or pattern > BROADCAST:
            continue
        made = [(place, field) for place, field in enumerate(call.args[1].fields) if field in products]
        smaller = {place for place, field in made if math.prod(shape_of(field)) < math.prod(shape_of(var))}
        if smaller:
            found[var] = smaller
        if len(smaller) < len(made):
            products.add(var)
    return found
