"""How an expression walks through memory: the step of each of its reads along a variable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import ir, sym, tirx

from .analysis import uses
from .tables import is_look_up


@dataclass(frozen=True)
class Access:
    """A read or write of `buffer`; `offset` counts elements from its begin, where its shape is static."""

    buffer: Any
    offset: Any

    def step(self, var: Any) -> int | None:
        """Elements between accesses of neighbouring values of `var`; None if they are in no regular order."""
        if not uses(self.offset, var):
            return 0
        coefficients = sym.detect_linear_equation(self.offset, [var])
        if len(coefficients) != 2 or not isinstance(coefficients[0], tirx.IntImm):
            return None
        return int(coefficients[0].value)


def reads(node: Any) -> list[Access]:
    """All loads in an expression or statement, in no particular order, but those from tables (tables.py)."""
    found: list[Access] = []

    def on_load(load: Any) -> None:
        if not is_look_up(load):
            found.append(access_of(load))

    tvm_ffi.structural_walk(node, [(ir.TensorLoad, on_load)])
    return found


def access_of(load: Any) -> Access:
    """Of a load."""
    return _access(load.source, list(load.indices))


def write(store: Any) -> Access:
    """Of a store."""
    return _access(store.buffer, list(store.indices))


def _access(buffer: Any, indices: Sequence[Any]) -> Access:
    offset = tirx.IntImm("int64", 0)
    strides = list(buffer.ty.strides) or [math.prod(buffer.ty.shape[n + 1 :]) for n in range(len(indices))]
    for stride, position in zip(strides, indices, strict=True):
        offset = offset + position * stride
    return Access(buffer, sym.Analyzer().simplify(offset))


def computes_with(node: Any, var: Any) -> bool:
    """Whether an expression uses `var` other than to find an element of a buffer."""
    without = tvm_ffi.structural_map(node, [(ir.TensorLoad, lambda load: tirx.const(0, str(load.ty.dtype)))])
    return uses(without, var)


def is_conditional(call: Any) -> bool:
    """Whether a call computes only one of two values."""
    return str(getattr(call.op, "name", "")).endswith(".if_then_else")


def is_vectorizable(value: Any) -> bool:
    """Whether TVM makes vectors of all calls in an expression; of others it makes loops."""
    hit = False

    def on_call(call: Any) -> None:
        nonlocal hit
        known = is_conditional(call) or str(getattr(call.op, "name", "")).endswith(".reinterpret")
        hit = hit or not (known or (isinstance(call.op, ir.Op) and call.op.get_attr("TVectorizable")))

    tvm_ffi.structural_walk(value, [(ir.Call, on_call)])
    return not hit
