"""The host program of a lowered module."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

from ..passes.regions import CUT, PASTE
from .program import Program, Step, Value
from .variants import name_variants
from .views import place_views

# Constants that differ do so early, mostly; only those that do not are compared as a whole.
_SAMPLE_BYTES = 256


class ExtractError(Exception):
    """A call that no kernel of ours implements; `operators` names all of them."""

    def __init__(self, operators: list[str]) -> None:
        self.operators = operators
        super().__init__(", ".join(operators))


def extract_program(module: tvm.IRModule) -> Program:
    """The program of a lowered module, whose `main` is straight-line calls of tensor programs.

    Raises:
        ExtractError: `main` calls something that is not a tensor program.
    """
    return _Extractor(module).run()


class _Extractor:
    def __init__(self, module: tvm.IRModule) -> None:
        self.module = module
        self.main = module["main"]
        self.program = Program()
        self.known: dict[Any, Any] = {}  # Relax variable → value index, or a list of them for a tuple
        # By type, shape and first bytes: the values so far, with all of their bytes.
        self.constants: dict[tuple[Any, ...], list[tuple[int, np.ndarray[Any, Any]]]] = {}
        self.foreign: list[str] = []

    def run(self) -> Program:
        for slot, param in enumerate(self.main.params):
            self.known[param] = self._new("input", param.ty, slot=slot)
        for block in self.main.body.blocks:
            for binding in block.bindings:
                self.known[binding.var] = self._binding(binding.value)
        if self.foreign:
            raise ExtractError(sorted(set(self.foreign)))
        result = self._atom(self.main.body.body)
        results = result if isinstance(result, list) else [result]
        self.program = place_views(self.program, results)
        self._bind_outputs(results)
        name_variants(self.program)
        return self.program

    def _new(self, kind: str, ty: Any, slot: int = -1, alias: int | None = None) -> int:
        shape = tuple(int(d) for d in ty.shape)
        self.program.values.append(Value(len(self.program.values), kind, str(ty.dtype), shape, slot, alias))
        return len(self.program.values) - 1

    def _binding(self, expr: Any) -> Any:
        if not isinstance(expr, ir.Call):
            return self._atom(expr)
        name = getattr(expr.op, "name", "")
        if name in ("relax.call_tir", "relax.call_tir_inplace"):
            return self._call_tir(expr)
        if name in ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten"):
            return self._new("temporary", expr.ty, alias=self._atom(expr.args[0]))
        if name == "relax.call_dps_packed" or name == "relax.call_pure_packed":
            name = str(getattr(expr.args[0], "global_symbol", name))
        self.foreign.append(name.removeprefix("relax."))
        fields = _fields(expr.ty)
        if not all(isinstance(ty, relax.TensorType) and ty.shape is not None for ty in fields):
            raise ExtractError(sorted(set(self.foreign)))
        made = [self._new("temporary", ty) for ty in fields]
        return made if isinstance(expr.ty, relax.TupleType) else made[0]

    def _call_tir(self, expr: Any) -> Any:
        kernel = str(expr.args[0].name_hint)
        attrs = self.module[kernel].attrs or {}
        paste, cut = (tuple(map(int, attrs[key])) if key in attrs else None for key in (PASTE, CUT))
        args = [self._atom(a) for a in expr.args[1].fields]
        if expr.op.name == "relax.call_tir_inplace":  # its last argument becomes the result
            made = [self._new("temporary", expr.ty, alias=args.pop())]
        else:
            made = [self._new("temporary", ty) for ty in _fields(expr.ty)]
        self.program.steps.append(Step(kernel, (*args, *made), len(made), paste, cut))
        return made if isinstance(expr.ty, relax.TupleType) else made[0]

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
        bits = array.reshape(-1).view(np.uint8)
        alike = self.constants.setdefault((dtype, array.shape, bits[:_SAMPLE_BYTES].tobytes()), [])
        for index, other in alike:
            if np.array_equal(bits, other):
                return index
        index = self._new("constant", expr.ty, slot=len(self.program.constants))
        self.program.constants.append(array)
        alike.append((index, bits))
        return index

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


def _fields(ty: Any) -> list[Any]:
    return list(ty.fields) if isinstance(ty, relax.TupleType) else [ty]
