"""Sums and products of int32 modulo 2^32.

LLVM takes for granted that those of tensor programs do not overflow. Where only the last result has to fit, and what it
is made of may wrap around, they are these operators, which a pass lowers to LLVM's own without that promise.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import ir, tirx

from .llvm_code import WRAPPING, import_code
from .lowering import define_operator, program_pass, width_of, with_body

_NAME = "edgec.wrapping_"

for _operation in ("add", "sub", "mul"):
    define_operator(_NAME + _operation, 2)


def wrapping(operation: str, a: Any, b: Any) -> Any:
    """`add`, `sub` or `mul` of two int32, modulo 2^32."""
    return ir.Call(ir.Op.get(_NAME + operation), [a, b], ret_ty=ir.PrimType("int32"))


def lower_wrapping(target: Any) -> Any:
    """The pass that replaces them; after loops have become vectors."""

    def replaced(call: Any) -> Any:
        name = str(getattr(call.op, "name", ""))
        if not name.startswith(_NAME):
            return call
        lanes = width_of(call)
        function = f"{WRAPPING}{name.removeprefix(_NAME)}_{lanes}"
        return tirx.call_pure_extern(str(call.ty.dtype), function, *call.args)

    def lower(func: Any) -> Any:
        return with_body(func, import_code(tvm_ffi.structural_map(func.body, [(ir.Call, replaced)]), target))

    return program_pass(lower)
