"""What a scheduled program executes, counted in its loops and vectors without running it.

This tells schedules of one program from each other where `estimate.py` knows the program alone: what a tile loads for
each multiply-add, what does not fit the registers, what is done element by element. It knows nothing of caches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from ..target import Target
from .cost import CALLS

_LOOP = 2.0  # instructions of an iteration: counting and branching
_SPARE_REGISTERS = 3  # for operands, beside a tile's sums
_FREE = ("reinterpret", "likely", "prefetch", "address_of", "tvm_struct_get")


@dataclass
class Instructions:
    """Of one call, of vectors or of single numbers; a loop whose length is not known counts once.

    Attributes:
        arithmetic: on data, not on indices.
        loads, stores: of memory, with those of values that do not fit the registers.
        other: of loops.
    """

    arithmetic: float = 0.0
    loads: float = 0.0
    stores: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        return self.arithmetic + self.loads + self.stores + self.other

    def cycles(self, target: Target) -> float:
        """On one core that has as many pipes for loads as for multiply-adds, and one for stores."""
        pipes = target.fma_pipes
        return max(self.arithmetic / pipes, self.loads / pipes, self.stores, self.total / (pipes + 2))


def count_instructions(module: Any, target: Target) -> Instructions:
    """Counts for the only function of a module that `build.codegen.lower_kernel` made."""
    (func,) = module.functions.values()
    counter = _Counter(target)
    counter.statement(func.body, 1.0, set())
    return counter.result()


@dataclass
class _Counter:
    target: Target
    made: Instructions = field(default_factory=Instructions)
    local_bytes: int = 0
    local_loads: float = 0.0
    local_stores: float = 0.0

    def result(self) -> Instructions:
        """With the share of accesses to a task's own values that go to the stack, as they outnumber the registers."""
        values = 8 * self.local_bytes / self.target.simd_bits
        room = self.target.simd_registers - _SPARE_REGISTERS
        spilled = max(0.0, 1 - room / values) if values else 0.0
        self.made.loads += spilled * self.local_loads
        self.made.stores += spilled * self.local_stores
        return self.made

    def registers(self, dtype: str) -> int:
        """That a value takes; what is done with it takes as many instructions."""
        found = tvm_ffi.dtype(dtype)
        return math.ceil(found.bits * found.lanes / self.target.simd_bits) if found.lanes > 1 else 1

    def statement(self, node: Any, times: float, seen: set[int]) -> None:
        """Adds a statement that runs so often. `seen`: loads since the loop around began, which stay in registers."""
        if isinstance(node, tirx.SeqStmt):
            for part in node:
                self.statement(part, times, seen)
        elif isinstance(node, tirx.For):
            count = float(node.extent.value) if isinstance(node.extent, tirx.IntImm) else 1.0
            self.made.other += _LOOP * times * count
            self.statement(node.body, times * count, set())
        elif isinstance(node, tirx.BufferStore):
            self.expression(node.value, times, seen)
            self.access(node.buffer, node.indices, str(node.value.ty.dtype), times, True)
        elif isinstance(node, tirx.AllocBuffer):
            ty = node.buffer.ty
            if str(ty.storage_scope) == "local" and all(isinstance(extent, tirx.IntImm) for extent in ty.shape):
                self.local_bytes += (
                    math.prod(int(extent.value) for extent in ty.shape) * tvm_ffi.dtype(ty.dtype).itemsize
                )
        elif isinstance(node, tirx.Bind):
            if isinstance(node.value, ir.Expr) and "int" not in str(node.value.ty.dtype):
                self.expression(node.value, times, seen)
        elif isinstance(node, tirx.IfThenElse):
            self.made.other += times
            self.statement(node.then_case, times, set(seen))  # the usual one: the other is for edges
        elif isinstance(node, tirx.Evaluate):
            self.made.other += times
        elif isinstance(node, tirx.AttrStmt | tirx.While):
            self.statement(node.body, times, seen)

    def access(self, buffer: Any, indices: Any, dtype: str, times: float, store: bool) -> None:
        """A load or a store of a value of that type."""
        count = times * self.registers(dtype)
        for index in indices:
            if isinstance(index, tirx.Ramp) and not (isinstance(index.stride, tirx.IntImm) and index.stride.value == 1):
                count = times * tvm_ffi.dtype(dtype).lanes  # element by element
        if str(buffer.ty.storage_scope) == "local":
            if store:
                self.local_stores += count
            else:
                self.local_loads += count
        elif store:
            self.made.stores += count
        else:
            self.made.loads += count

    def expression(self, expr: Any, times: float, seen: set[int]) -> None:
        """Adds what computing a value takes."""
        if isinstance(expr, ir.TensorLoad):
            key = tvm_ffi.structural_hash(expr)
            if key not in seen:
                seen.add(key)
                self.access(expr.source, expr.indices, str(expr.ty.dtype), times, False)
            return
        if isinstance(expr, tirx.IntImm | tirx.FloatImm | ir.Var | tirx.Ramp) or not isinstance(expr.ty, ir.PrimType):
            return  # nothing to compute: names of functions are no numbers either
        if isinstance(expr, tirx.Broadcast):
            self.expression(expr.value, times, seen)  # a load, or an instruction that takes one element, does it
            return
        count = times * self.registers(str(expr.ty.dtype))
        if isinstance(expr, ir.Call):
            name = str(getattr(expr.op, "name", "")).rpartition(".")[2]
            arguments = [argument for argument in expr.args if isinstance(argument, ir.Expr)]
            if name not in _FREE:
                self.made.arithmetic += count * max(1, CALLS.get(name, 1))
        elif isinstance(expr, tirx.Cast):
            arguments = [expr.value]
            self.made.arithmetic += max(count, times * self.registers(str(expr.value.ty.dtype)))
        elif isinstance(expr, tirx.Select):
            arguments = [expr.condition, expr.true_value, expr.false_value]
            self.made.arithmetic += count
        elif isinstance(expr, tirx.Shuffle):
            arguments = list(expr.vectors)
            self.made.arithmetic += count
        elif hasattr(expr, "a") and hasattr(expr, "b"):
            arguments = [expr.a, expr.b]
            if not (isinstance(expr, tirx.Add | tirx.Sub) and any(isinstance(one, tirx.Mul) for one in arguments)):
                self.made.arithmetic += count  # else it is part of a multiply-add
        else:
            arguments = []
        for argument in arguments:
            self.expression(argument, times, seen)
