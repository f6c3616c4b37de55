"""What a tensor program costs: arithmetic operations, and bytes that it reads and writes, counted without running it.

Counted is what its results need, from the last block back to the first: of a buffer that is read in a window, only
that window is computed or read.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import tvm_ffi
from tvm import ir, s_tir, tirx

from .indices import Axis, Index

_BINARY = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod, tirx.Max, tirx.Min)
_COMPARISONS = (tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE)
_LOGIC = (tirx.And, tirx.Or)
_BITS = (tirx.BitwiseAnd, tirx.BitwiseOr, tirx.BitwiseXor, tirx.LShift, tirx.RShift)

# Operations of one call: the lengths of our polynomials (vector_math.py), and about those of C libraries.
CALLS = (
    {"fma": 2, "sqrt": 1, "rsqrt": 2, "exp": 20, "exp2": 20, "exp10": 22, "sigmoid": 22, "tanh": 22, "erf": 24}
    | dict.fromkeys(("log", "log2", "log10", "log1p"), 24)
    | dict.fromkeys(("pow", "atan2", "fmod", "hypot"), 48)
    | dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"), 30)
    | dict.fromkeys(("reinterpret", "likely", "bitwise_and", "bitwise_or", "word", "pair"), 0)
    # Of words of four or two, and what adds it.
    | dict.fromkeys(("dot_uint8", "dot_uint8_small", "dot_int8", "dot_int8_partial", "dot_int8_partial_wide"), 7)
    | {"dot_int8_twice": 15}
    | dict.fromkeys(("dot_int16", "dot_bfloat16"), 3)
)

_UNKNOWN_SIZE = 1 << 62


@dataclass(frozen=True)
class Cost:
    """What one call of a program costs.

    Attributes:
        flops: arithmetic operations on data, of floats or integers; a multiply-add is two, calculations of indices
            and conversions none, and a transcendental function as many as its polynomial has.
        bytes_read: distinct bytes of the parameters that it reads.
        bytes_written: distinct bytes of the parameters that it writes.
        iterations: of the innermost loops of all blocks that sum, or write a result; rules inline the others.
        dtype: of the operands of most multiplications and divisions; where there are none, of the first result.
    """

    flops: int
    bytes_read: int
    bytes_written: int
    iterations: int
    dtype: str

    @property
    def bytes_moved(self) -> int:
        return self.bytes_read + self.bytes_written


def cost_of(func: Any) -> Cost:
    """Counts for `func`, a TIR PrimFunc before it is scheduled; along axes of unknown length, for one element."""
    return _cost_of(tvm_ffi.StructuralKey(func))


@functools.lru_cache(maxsize=512)  # of equal programs once
def _cost_of(key: Any) -> Cost:
    func = key.key
    stores: list[_Store] = []
    _collect(func.body, _Scope(), stores)
    counter = _Counter(func)
    for store in reversed(stores):
        counter.count(store)
    return counter.result()


@dataclass(frozen=True)
class _Access:
    """A load or a store of one element of a buffer."""

    buffer: int
    shape: tuple[int, ...]
    indices: tuple[Index, ...]

    @staticmethod
    def of(buffer: Any, indices: Any) -> _Access:
        sizes = (Index.of(size).value for size in buffer.ty.shape)
        shape = tuple(_UNKNOWN_SIZE if size is None else size for size in sizes)
        return _Access(hash(buffer), shape, tuple(map(Index.of, indices)))


@dataclass(frozen=True)
class _Scope:
    """What surrounds a statement: loops and block axes, scalars bound to a value, conditions, buffers of the block."""

    axes: Mapping[int, Axis] = field(default_factory=dict)
    bound: Mapping[int, Any] = field(default_factory=dict)
    conditions: tuple[Any, ...] = ()
    written: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Store:
    """One store; `operations` and `loads` are those of its value and of the conditions that it is under."""

    target: _Access
    scope: _Scope
    operations: int
    loads: tuple[_Access, ...]
    multiplied: str | None


def _collect(node: Any, scope: _Scope, stores: list[_Store]) -> None:
    """Appends the stores of a statement in program order. Initialisations of reductions are left out."""
    if isinstance(node, tirx.SeqStmt):
        for statement in node:
            if isinstance(statement, tirx.Bind):  # for the statements that follow
                scope = replace(scope, bound={**scope.bound, hash(statement.var): statement.value})
            else:
                _collect(statement, scope, stores)
    elif isinstance(node, tirx.For):
        axis = _axis(node.min, node.extent, scope.axes)
        _collect(node.body, replace(scope, axes={**scope.axes, hash(node.loop_var): axis}), stores)
    elif isinstance(node, s_tir.SBlockRealize):
        # The block's own axes stand for the loops that they are bound to.
        loops = {variable for value in node.iter_values for variable in Index.of(value).variables()}
        axes = {variable: axis for variable, axis in scope.axes.items() if variable not in loops}
        for axis in node.block.iter_vars:
            axes[hash(axis.var)] = _axis(axis.dom.min, axis.dom.extent, scope.axes)
        written = frozenset(hash(region.source) for region in node.block.writes)
        _collect(node.block.body, replace(scope, axes=axes, written=written), stores)
    elif isinstance(node, tirx.BufferStore):
        found = _Operations(scope.bound)
        for value in (node.value, *scope.conditions):
            found.count(value)
        access, dtype = _Access.of(node.buffer, node.indices), next(iter(found.multiplied), None)
        stores.append(_Store(access, scope, found.number, tuple(found.loads), dtype))
    elif isinstance(node, tirx.IfThenElse):
        scope = replace(scope, conditions=(*scope.conditions, node.condition))
        for branch in (node.then_case, node.else_case):
            if branch is not None:
                _collect(branch, scope, stores)
    elif isinstance(node, tirx.AttrStmt | tirx.While):
        _collect(node.body, scope, stores)


def _axis(first: Any, extent: Any, axes: Mapping[int, Axis]) -> Axis:
    """The range of a loop; bounds that depend on other loops, or on data, are taken at their largest, or as 1."""
    low, _ = Index.of(first).bounds(axes)
    _, steps = Index.of(extent).bounds(axes)
    start, count = (int(value) if math.isfinite(value) else 1 for value in (low, steps))
    return Axis(start, start + max(count, 1) - 1, count)


class _Regions:
    """The parts of a buffer that accesses touch: ranges by dimension, and how many elements."""

    def __init__(self) -> None:
        self.parts: set[tuple[tuple[Axis, ...], int]] = set()

    def hull(self) -> list[Axis]:
        """The smallest box around all of them."""
        return [_hull(set(sides)) for sides in zip(*(sides for sides, _ in self.parts), strict=True)]

    def elements(self) -> int:
        """At most so many: parts may overlap, but not leave the box around all."""
        return min(sum(count for _, count in self.parts), math.prod(side.count for side in self.hull()))


def _hull(axes: set[Axis]) -> Axis:
    low, high = min(axis.low for axis in axes), max(axis.high for axis in axes)
    return Axis(low, high, min(high - low + 1, sum(axis.count for axis in axes)))


class _Counter:
    """Takes the stores of a program from the last to the first."""

    def __init__(self, func: Any) -> None:
        self.dtypes = {hash(param): str(param.ty.dtype) for param in func.params}  # of the parameters
        self.read: dict[int, _Regions] = {}
        self.written: dict[int, _Regions] = {}
        self.flops = self.iterations = 0
        self.multiplied: dict[str, int] = {}

    def result(self) -> Cost:
        read, written = (
            sum(regions[b].elements() * tvm_ffi.dtype(d).itemsize for b, d in self.dtypes.items() if b in regions)
            for regions in (self.read, self.written)
        )
        results = [dtype for buffer, dtype in self.dtypes.items() if buffer in self.written]
        dtype = max(self.multiplied, key=self.multiplied.__getitem__, default=next(iter(results), "float32"))
        return Cost(self.flops, read, written, self.iterations, dtype)

    def count(self, store: _Store) -> None:
        axes = self._needed(store)
        if axes is None:
            return
        steps = math.prod(axis.count for axis in axes.values())
        self.flops += store.operations * steps
        if store.target.buffer in self.dtypes or any(load.buffer == store.target.buffer for load in store.loads):
            self.iterations += steps
        self._touch(self.written, store.target, axes)
        for load in store.loads:
            if load.buffer not in store.scope.written and load.buffer != store.target.buffer:
                self._touch(self.read, load, axes)
        if store.multiplied:
            self.multiplied[store.multiplied] = self.multiplied.get(store.multiplied, 0) + steps

    def _needed(self, store: _Store) -> Mapping[int, Axis] | None:
        """The store's axes, as far as what it stores is read later; None if it is not."""
        axes = dict(store.scope.axes)
        target, together = store.target, store.scope.written | {store.target.buffer}
        if not together.isdisjoint(self.dtypes):
            return axes
        if target.buffer not in self.read:
            return None
        for index, wanted in zip(target.indices, self.read[target.buffer].hull(), strict=True):
            if index.variable in axes and len(together) == 1:
                own = axes[index.variable]
                low, high = max(own.low, wanted.low), min(own.high, wanted.high)
                axes[index.variable] = Axis(low, high, min(wanted.count, own.count))
        return axes

    def _touch(self, regions: dict[int, _Regions], access: _Access, axes: Mapping[int, Axis]) -> None:
        sides, used = [], set()
        for index, extent in zip(access.indices, access.shape, strict=True):
            low, high = index.bounds(axes)
            first, last = int(max(low, 0)), int(min(high, extent - 1))
            variables = {variable for variable in index.variables() if variable in axes}
            used |= variables
            steps = math.prod(axes[variable].count for variable in variables)
            sides.append(Axis(first, last, max(0, min(last - first + 1, steps))))
        elements = min(math.prod(side.count for side in sides), math.prod(axes[v].count for v in used))
        if elements:
            regions.setdefault(access.buffer, _Regions()).parts.add((tuple(sides), elements))


class _Operations:
    """Walks expressions: their operations on data, which are those that depend on what is in a buffer, and loads.

    Attributes:
        number: operations of one evaluation.
        loads: every load, those in indices and in bound scalars included.
        multiplied: types of data that is multiplied or divided, before any conversion; the narrowest of each product.
    """

    def __init__(self, bound: Mapping[int, Any]) -> None:
        self.bound = bound
        self.number = 0
        self.loads: list[_Access] = []
        self.multiplied: list[str] = []

    def count(self, expr: Any) -> None:
        self.number += self._visit(expr)[0]

    def _visit(self, expr: Any) -> tuple[int, bool]:
        """(operations, whether it depends on data)."""
        if isinstance(expr, ir.TensorLoad):
            self.loads.append(_Access.of(expr.source, expr.indices))
            for index in expr.indices:
                self._visit(index)  # for the loads in it
            return 0, True
        if isinstance(expr, _BINARY + _COMPARISONS + _LOGIC + _BITS):
            (a, first), (b, second) = self._visit(expr.a), self._visit(expr.b)
            if isinstance(expr, tirx.Mul | tirx.Div):
                self._product(expr)
            data = first or second
            return a + b + (data and not isinstance(expr, _LOGIC + _BITS)), data
        if isinstance(expr, tirx.Cast | tirx.Broadcast):
            return self._visit(expr.value)
        if isinstance(expr, tirx.Not):
            return self._visit(expr.a)
        if isinstance(expr, tirx.Select):
            return self._choice(expr.condition, expr.true_value, expr.false_value)
        if isinstance(expr, tirx.Let):
            self.bound = {**self.bound, hash(expr.var): expr.value}
            return self._visit(expr.body)
        if isinstance(expr, ir.Call):
            return self._call(expr)
        if isinstance(expr, ir.Var) and hash(expr) in self.bound:
            return self._visit(self.bound[hash(expr)])
        return 0, False

    def _product(self, product: Any) -> None:
        operands = []
        for operand in (product.a, product.b):
            while isinstance(operand, tirx.Cast):
                operand = operand.value
            if isinstance(operand, ir.TensorLoad):
                operands.append(str(operand.ty.dtype))
        self.multiplied += sorted(operands, key=lambda dtype: tvm_ffi.dtype(dtype).bits)[:1]

    def _choice(self, condition: Any, first: Any, second: Any) -> tuple[int, bool]:
        """The dearer branch: of those of a concatenation or a padding, one is taken."""
        (c, _), (a, in_a), (b, in_b) = map(self._visit, (condition, first, second))
        return c + max(a, b), in_a or in_b

    def _call(self, call: Any) -> tuple[int, bool]:
        name = str(getattr(call.op, "name", "")).rpartition(".")[2]
        if name == "if_then_else":
            return self._choice(*call.args)
        visited = [self._visit(arg) for arg in call.args]
        if name.startswith("dot_"):
            self.multiplied.append(name.split("_")[1])
        data = any(depends for _, depends in visited)
        return sum(count for count, _ in visited) + CALLS.get(name, 1) * data, data
