"""The host program as data: which kernel runs on which values, in order."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax


@dataclass(frozen=True)
class Value:
    """A tensor of the program.

    Attributes:
        index: its place in `Program.values`.
        kind: `input`, `output` (written into the caller's buffer), `constant` or `temporary`.
        slot: which input, output or constant; -1 for a temporary.
        alias: the value whose memory this one is another view of; None if it has its own.
    """

    index: int
    kind: str
    dtype: str
    shape: tuple[int, ...]
    slot: int = -1
    alias: int | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * item_bytes(self.dtype)


@dataclass(frozen=True)
class Step:
    """One call: a kernel, or a copy (kernel None) of the first argument to the second.

    Attributes:
        args: values, the kernel's results last.
        outputs: how many of the last arguments are results.
    """

    kernel: str | None
    args: tuple[int, ...]
    outputs: int = 1


@dataclass
class Program:
    """Steps over values; `constants` are the arrays behind the values of kind `constant`, each once."""

    values: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    constants: list[np.ndarray[Any, Any]] = field(default_factory=list)

    def root(self, index: int) -> int:
        """The value that owns the memory of `index`."""
        while (alias := self.values[index].alias) is not None:
            index = alias
        return index


class ExtractError(Exception):
    """A call that no kernel of ours implements; `operators` names all of them."""

    def __init__(self, operators: list[str]) -> None:
        self.operators = operators
        super().__init__(", ".join(operators))


def item_bytes(dtype: str) -> int:
    """Bytes of one element; bfloat16 and the like included, which NumPy lacks."""
    if dtype == "bool":
        return 1
    digits = "".join(c for c in dtype if c.isdigit())
    return max(1, int(digits) // 8)


def extract_program(module: tvm.IRModule) -> Program:
    """The program of a lowered module, whose `main` is straight-line calls of tensor programs.

    Raises:
        ExtractError: `main` calls something that is not a tensor program.
    """
    return _Extractor(module).run()


class _Extractor:
    def __init__(self, module: tvm.IRModule) -> None:
        self.main = module["main"]
        self.program = Program()
        self.known: dict[Any, Any] = {}  # Relax variable → value index, or a list of them for a tuple
        self.constants: dict[tuple[str, bytes, tuple[int, ...]], int] = {}
        self.foreign: list[str] = []

    def run(self) -> Program:
        for slot, param in enumerate(self.main.params):
            self.known[param] = self._new("input", param.ty, slot=slot)
        for block in self.main.body.blocks:
            for binding in block.bindings:
                self.known[binding.var] = self._binding(binding.value)
        if self.foreign:
            raise ExtractError(sorted(set(self.foreign)))
        results = self._atom(self.main.body.body)
        self._bind_outputs(results if isinstance(results, list) else [results])
        return self.program

    def _new(self, kind: str, ty: Any, slot: int = -1, alias: int | None = None) -> int:
        shape = tuple(int(d) for d in ty.shape)
        self.program.values.append(Value(len(self.program.values), kind, str(ty.dtype), shape, slot, alias))
        return len(self.program.values) - 1

    def _binding(self, expr: Any) -> Any:
        if not isinstance(expr, ir.Call):
            return self._atom(expr)
        name = getattr(expr.op, "name", "")
        if name == "relax.call_tir":
            return self._call_tir(expr)
        if name in ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten"):
            return self._new("temporary", expr.ty, alias=self._atom(expr.args[0]))
        if name == "relax.call_dps_packed" or name == "relax.call_pure_packed":
            name = str(getattr(expr.args[0], "global_symbol", name))
        self.foreign.append(name.removeprefix("relax."))
        fields = list(expr.ty.fields) if isinstance(expr.ty, relax.TupleType) else [expr.ty]
        if not all(isinstance(ty, relax.TensorType) and ty.shape is not None for ty in fields):
            raise ExtractError(sorted(set(self.foreign)))
        made = [self._new("temporary", ty) for ty in fields]
        return made if isinstance(expr.ty, relax.TupleType) else made[0]

    def _call_tir(self, expr: Any) -> Any:
        kernel = str(expr.args[0].name_hint)
        args = [self._atom(a) for a in expr.args[1].fields]
        tuple_result = isinstance(expr.ty, relax.TupleType)
        made = [self._new("temporary", ty) for ty in (expr.ty.fields if tuple_result else [expr.ty])]
        self.program.steps.append(Step(kernel, (*args, *made), len(made)))
        return made if tuple_result else made[0]

    def _atom(self, expr: Any) -> Any:
        if isinstance(expr, relax.Var):
            return self.known[expr]
        if isinstance(expr, relax.Tuple):
            return [self._atom(f) for f in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            return self._atom(expr.tuple_value)[expr.index]
        if isinstance(expr, ir.GenericConst):
            return self._constant(expr)
        raise ExtractError([type(expr).__name__])

    def _constant(self, expr: Any) -> int:
        # bfloat16 has no NumPy type; its bits travel as uint16.
        dtype = str(expr.ty.dtype)
        array = np.ascontiguousarray(expr.value.numpy())
        key = (dtype, hashlib.sha256(array.tobytes()).digest(), array.shape)
        if key not in self.constants:
            self.constants[key] = self._new("constant", expr.ty, slot=len(self.program.constants))
            self.program.constants.append(array)
        return self.constants[key]

    def _bind_outputs(self, results: list[int]) -> None:
        """Lets kernels write into the caller's buffers; copies what is no kernel's own result."""
        values, taken = self.program.values, set()
        for slot, index in enumerate(results):
            root = self.program.root(index)
            value = values[root]
            if value.kind == "temporary" and root not in taken:
                taken.add(root)
                values[root] = Value(root, "output", value.dtype, value.shape, slot)
            else:
                source = values[index]
                values.append(Value(len(values), "output", source.dtype, source.shape, slot))
                self.program.steps.append(Step(None, (index, len(values) - 1)))


def kernel_uses(program: Program) -> Mapping[str, int]:
    """How often each kernel is called."""
    counts: dict[str, int] = {}
    for step in program.steps:
        if step.kernel is not None:
            counts[step.kernel] = counts.get(step.kernel, 0) + 1
    return counts
