"""The host program of a lowered module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, tirx

from ..frontend.flow import Facts
from ..operators.flow import BRANCH, REPEAT
from ..passes.regions import CUT, PASTE
from .in_place import offer_arguments
from .program import Branch, Program, Repeat, Step, Value
from .variants import name_variants
from .views import place_views

# Constants that differ do so early, mostly; only those that do not are compared as a whole.
_SAMPLE_BYTES = 256


class ExtractError(Exception):
    """A call that no kernel of ours implements; `operators` names all of them."""

    def __init__(self, operators: list[str]) -> None:
        self.operators = operators
        super().__init__(", ".join(operators))


def extract_program(
    module: tvm.IRModule,
    bodies: Sequence[tvm.IRModule] = (),
    prefix: str = "",
    constants: Constants | None = None,
) -> tuple[Program, dict[str, Any]]:
    """The program of a lowered module, whose `main` is straight-line calls of tensor programs and of bodies.

    Args:
        bodies: what its calls of `edgec.branch` and `edgec.repeat` run.
        prefix: of the names of the tensor programs in the result.
        constants: those of other programs, which this one shall share.

    Returns:
        The program, and all tensor programs by name.

    Raises:
        ExtractError: `main` calls something that is not a tensor program.
    """
    modules = {prefix: module} | {f"{prefix}body{place}_": body for place, body in enumerate(bodies)}
    functions = {
        start + var.name_hint: func
        for start, one in modules.items()
        for var, func in one.functions.items()
        if isinstance(func, tirx.PrimFunc)
    }
    program = _Extractor(modules, functions, prefix, constants or Constants()).run(prefix)
    offer_arguments(program)
    return program, functions


class Constants:
    """The arrays that are constant, each once."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray[Any, Any]] = []
        # By type, shape and first bytes: their places in the list, with all of their bytes.
        self._known: dict[tuple[Any, ...], list[tuple[int, np.ndarray[Any, Any]]]] = {}

    def place(self, dtype: str, array: np.ndarray[Any, Any]) -> int:
        """Where the array is in the list; it joins it if it is new."""
        bits = array.reshape(-1).view(np.uint8)
        alike = self._known.setdefault((dtype, array.shape, bits[:_SAMPLE_BYTES].tobytes()), [])
        for place, other in alike:
            if np.array_equal(bits, other):
                return place
        alike.append((len(self.arrays), bits))
        self.arrays.append(array)
        return len(self.arrays) - 1


class _Extractor:
    """Extracts one module, the model's or that of a body.

    Args:
        modules: all of them by the prefix of the names that their functions have in `functions`.
        outer: the model's prefix.
    """

    def __init__(
        self, modules: Mapping[str, tvm.IRModule], functions: Mapping[str, Any], outer: str, constants: Constants
    ) -> None:
        self.modules, self.functions, self.outer, self.constants = modules, functions, outer, constants
        self.program = Program(constants=constants.arrays)
        self.known: dict[Any, Any] = {}  # Relax variable → value index, or a list of them for a tuple
        self.constant_values: dict[int, int] = {}  # by place in the list of constants
        self.foreign: list[str] = []

    def run(self, prefix: str) -> Program:
        self.prefix = prefix
        main = self.modules[prefix]["main"]
        for slot, param in enumerate(main.params):
            self.known[param] = self._new("input", param.ty, slot=slot)
        for block in main.body.blocks:
            for binding in block.bindings:
                self.known[binding.var] = self._binding(binding.value)
        if self.foreign:
            raise ExtractError(sorted(set(self.foreign)))
        result = self._atom(main.body.body)
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
        if name in (BRANCH, REPEAT):
            return self._flow(expr)
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
        kernel = self.prefix + str(expr.args[0].name_hint)
        attrs = self.functions[kernel].attrs or {}
        paste, cut = (tuple(map(int, attrs[key])) if key in attrs else None for key in (PASTE, CUT))
        args = [self._atom(a) for a in expr.args[1].fields]
        if expr.op.name == "relax.call_tir_inplace":  # its last argument becomes the result
            made = [self._new("temporary", expr.ty, alias=args.pop())]
        else:
            made = [self._new("temporary", ty) for ty in _fields(expr.ty)]
        self.program.steps.append(Step(kernel, (*args, *made), len(made), paste, cut))
        return made if isinstance(expr.ty, relax.TupleType) else made[0]

    def _flow(self, expr: Any) -> Any:
        attrs = expr.attrs
        bodies = [
            _Extractor(self.modules, self.functions, self.outer, self.constants).run(f"{self.outer}body{int(place)}_")
            for place in attrs["bodies"]
        ]
        if expr.op.name == BRANCH:
            flow: Branch | Repeat = Branch(*bodies)
        else:
            scanned, stacked = (tuple(bool(way) for way in attrs[name]) for name in ("scanned", "stacked"))
            asks, measures, counts = (bool(attrs[name]) for name in ("asks", "measures", "counts"))
            trips, carried = int(attrs["trips"]), int(attrs["carried"])
            flow = Repeat(bodies[0], Facts(trips, asks, measures, counts, carried, scanned, stacked))
        made = [self._new("temporary", ty) for ty in _fields(expr.ty)]
        args = [self._atom(arg) for arg in expr.args]
        self.program.steps.append(Step(None, (*args, *made), len(made), flow=flow))
        return made

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
        place = self.constants.place(str(expr.ty.dtype), np.ascontiguousarray(expr.value.numpy()))
        if place not in self.constant_values:
            self.constant_values[place] = self._new("constant", expr.ty, slot=place)
        return self.constant_values[place]

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
