"""One kernel for tensor programs that differ in numbers only, as those of equal layers with other scales do.

Where programs are equal but for their float32 numbers, those that differ become parameters; each step passes its own
in a small constant. Numbers that are the same in all of them stay in the code, and so do those of programs that are
equal to no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm_ffi
from tvm import ir, tirx

from ..kernels.lowering import nodes_of
from ..kernels.scalars import SCALARS, Fact
from .extract import Constants
from .objects import canonical_form
from .program import Program, Value, all_programs

_NUMBER = "float32"


@dataclass(frozen=True)
class _Member:
    """A program among those that are equal but for numbers."""

    name: str
    program: Any
    outputs: int
    numbers: tuple[float, ...]


def share_kernels(programs: Sequence[Program], functions: Mapping[str, Any], constants: Constants) -> dict[str, Any]:
    """The tensor programs, with numbers as parameters where that makes some of them equal; steps pass these numbers.

    Args:
        programs: of the host, whose steps are changed.
        functions: tensor programs by the name that steps know them by.
        constants: of all programs.
    """
    every = [one for program in programs for one in all_programs(program)]
    outputs = {step.kernel: step.outputs for one in every for step in one.steps if step.kernel is not None}
    shared, passed = dict(functions), dict[str, np.ndarray[Any, Any]]()
    for group in _groups(functions, outputs):
        columns = _columns(group)
        if not columns:
            continue
        program = _with_parameters(columns, group)
        for member in group:
            shared[member.name] = program
            passed[member.name] = np.array([member.numbers[column[0]] for column in columns], _NUMBER)
    for one in every:
        _pass_numbers(one, passed, constants)
    return shared


def _groups(functions: Mapping[str, Any], outputs: Mapping[str, int]) -> Iterator[list[_Member]]:
    """Programs that are equal but for numbers, of which the same can be said where requantisation asks for it."""
    found: dict[Any, list[_Member]] = {}
    for name, function in functions.items():
        if name not in outputs or _reaches_indices(function):
            continue
        program = canonical_form(function)
        numbers, plain = _apart(program)
        if numbers:
            key = tvm_ffi.StructuralKey(plain), tuple(map(_kind, numbers)), outputs[name]
            found.setdefault(key, []).append(_Member(name, program, outputs[name], numbers))
    yield from (group for group in found.values() if len(group) > 1)


def _apart(program: Any) -> tuple[tuple[float, ...], Any]:
    """The numbers of a program, and the program with zeros in their place."""
    numbers: list[float] = []

    def on_number(number: Any) -> Any:
        numbers.append(float(number.value))
        return tirx.FloatImm(_NUMBER, 0.0)

    plain = _rewritten(program, on_number)
    return tuple(numbers), plain


def _kind(number: float) -> int:
    fact = Fact.of([number])
    return 2 if fact.whole else int(fact.factor)


def _rewritten(program: Any, change: Callable[[Any], Any]) -> Any:
    def on_number(number: Any) -> Any:
        return change(number) if str(number.ty.dtype) == _NUMBER else number

    return program.with_body(tvm_ffi.structural_map(program.body, [(tirx.FloatImm, on_number)]))


def _reaches_indices(program: Any) -> bool:
    """Whether numbers decide which elements are read or written: schedules look into that."""
    accesses = [*nodes_of(program.body, ir.TensorLoad), *nodes_of(program.body, tirx.BufferStore)]
    return any(nodes_of(index, tirx.FloatImm) for access in accesses for index in access.indices)


def _columns(group: Sequence[_Member]) -> list[list[int]]:
    """The places of numbers that differ between the members; those together that are equal in each of them."""
    found: dict[tuple[bytes, ...], list[int]] = {}
    for place, values in enumerate(zip(*(member.numbers for member in group), strict=True)):
        column = tuple(np.float32(value).tobytes() for value in values)
        if len(set(column)) > 1:
            found.setdefault(column, []).append(place)
    return list(found.values())


def _with_parameters(columns: Sequence[Sequence[int]], group: Sequence[_Member]) -> Any:
    """The first program with a parameter for each of the columns, before its results."""
    member = group[0]
    parameters = [tirx.Var(f"number{number}", _NUMBER) for number in range(len(columns))]
    of_place = {place: var for var, column in zip(parameters, columns, strict=True) for place in column}
    places = iter(range(len(member.numbers)))
    program = _rewritten(member.program, lambda number: of_place.get(next(places), number))
    first = len(program.params) - member.outputs
    params = [*program.params[:first], *parameters, *program.params[first:]]
    facts = [str(Fact.of(other.numbers[column[0]] for other in group)) for column in columns]
    return tirx.PrimFunc(params, program.body, program.ret_type, program.attrs).with_attr(SCALARS, facts)


def _pass_numbers(program: Program, passed: Mapping[str, np.ndarray[Any, Any]], constants: Constants) -> None:
    """Puts the numbers of kernels before the results that steps name."""
    for number, step in enumerate(program.steps):
        if step.kernel is None or step.kernel not in passed:
            continue
        numbers = passed[step.kernel]
        value = Value(len(program.values), "constant", _NUMBER, numbers.shape, constants.place(_NUMBER, numbers))
        program.values.append(value)
        first = len(step.args) - step.outputs
        program.steps[number] = replace(step, args=(*step.args[:first], value.index, *step.args[first:]))
