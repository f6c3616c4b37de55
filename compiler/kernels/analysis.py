"""What a schedule rule needs to know of a tensor program: its blocks, and how they read memory."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import ir, sym, tirx


@dataclass(frozen=True)
class Block:
    """One block of a tensor program.

    Attributes:
        name: unique in the program.
        spatial: extents of the data-parallel axes, in order.
        reduction: extents of the reduction axes, in order.
        contiguous: whether every read and write is contiguous or constant along the last data-parallel axis,
            so that a vector of that axis is one load.
        contiguous_reduction: the same along the last reduction axis, which reads alone depend on.
        period: along that axis, reads jump after so many elements, as those of a convolution in groups do;
            0 if they are contiguous all along.
        transcendental: whether it calls functions that libm computes one element at a time.
        writes: buffers that it writes.
    """

    name: str
    spatial: tuple[int, ...]
    reduction: tuple[int, ...]
    contiguous: bool
    transcendental: bool
    contiguous_reduction: bool = False
    period: int = 0
    writes: int = 1

    @property
    def work(self) -> int:
        """Innermost iterations in all."""
        return math.prod(self.spatial) * math.prod(self.reduction)


def blocks_of(sch: Any) -> list[Block]:
    """The leaf blocks in program order; raises ValueError for what a static schedule cannot handle."""
    return [_analysed(sch.get(rv)) for rv in sch.get_child_blocks(sch.get_sblock("root"))]


@functools.lru_cache(maxsize=256)  # every rule asks for the blocks of the same program
def _analysed(block: Any) -> Block:
    spatial, reduction, last, last_reduction = [], [], None, None
    for axis in block.iter_vars:
        extent = axis.dom.extent
        if not isinstance(extent, tirx.IntImm):
            raise ValueError(f"block {block.name_hint} has a dynamic extent")
        if axis.iter_type == tirx.IterVar.DataPar:
            spatial.append(int(extent.value))
            last = axis.var
        elif axis.iter_type == tirx.IterVar.CommReduce:
            reduction.append(int(extent.value))
            last_reduction = axis.var
        else:
            raise ValueError(f"block {block.name_hint} has an axis that is neither parallel nor reduced")
    visitor = _Accesses(last)
    visitor.visit(block.body)
    if block.init is not None:
        visitor.visit(block.init)
    reduced = _Accesses(last_reduction)
    reduced.visit(block.body)
    return Block(
        block.name_hint,
        tuple(spatial),
        tuple(reduction),
        last is not None and visitor.contiguous,
        visitor.transcendental,
        last_reduction is not None and reduced.contiguous and not reduced.period,
        visitor.period,
        len(block.writes),
    )


class _Accesses:
    """Walks a block's body and looks at each buffer access along one variable."""

    CALLS = (
        "exp",
        "tanh",
        "erf",
        "log",
        "pow",
        "sin",
        "cos",
        "tan",
        "atan",
        "log2",
        "log10",
        "exp2",
        "sigmoid",
    )

    def __init__(self, var: Any) -> None:
        self.var = var
        self.contiguous = True
        self.period = 0
        self.transcendental = False

    def visit(self, node: Any) -> None:
        def on_access(access: Any) -> None:
            self._access(list(access.indices))

        def on_call(call: Any) -> None:
            self.transcendental |= str(getattr(call.op, "name", "")).removeprefix("tirx.") in self.CALLS

        tvm_ffi.structural_walk(node, [((ir.TensorLoad, tirx.BufferStore), on_access), (ir.Call, on_call)])

    def _access(self, indices: list[Any]) -> None:
        if self.var is None or not indices:
            return
        indices = [self._within_period(index) for index in indices]
        if any(uses(index, self.var) for index in indices[:-1]):
            self.contiguous = False
            return
        if not uses(indices[-1], self.var):
            return
        coefficients = sym.detect_linear_equation(indices[-1], [self.var])
        if len(coefficients) != 2 or not isinstance(coefficients[0], tirx.IntImm) or coefficients[0].value != 1:
            self.contiguous = False

    def _within_period(self, index: Any) -> Any:
        leaf = isinstance(index, (ir.Var, tirx.IntImm))
        return index if leaf else tvm_ffi.structural_map(index, [(tirx.FloorDiv, self._step)])

    def _step(self, quotient: Any) -> Any:
        """`var // c` stays the same for c elements."""
        if not quotient.a.same_as(self.var) or not isinstance(quotient.b, tirx.IntImm):
            return quotient
        self.period = math.gcd(self.period, int(quotient.b.value))
        return tirx.IntImm(str(quotient.ty.dtype), 0)


def uses(expr: Any, var: Any) -> bool:
    """Whether `var` occurs in `expr`, which does not bind it."""
    return any(var.same_as(other) for other in tirx.analysis.undefined_vars(expr))
