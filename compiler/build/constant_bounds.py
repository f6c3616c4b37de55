"""Tells the tensor programs that make 8-bit integers of float32 how large the constants are that they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tvm import ir

from ..kernels.bounds import BOUNDS, class_of, largest
from ..kernels.lowering import is_call, nodes_of
from ..kernels.scalars import is_scalar
from .program import Program, Step, all_programs


def note_bounds(programs: Sequence[Program], functions: Mapping[str, Any]) -> dict[str, Any]:
    """The tensor programs with classes of their parameters, where all steps that call one pass constants for them.

    Args:
        programs: of the host.
        functions: tensor programs by the name that steps know them by.
    """
    found: dict[str, list[list[str]]] = {}
    known: dict[int, str] = {}  # by place in the list of constants
    rounding = {name for name, function in functions.items() if _rounds(function)}
    for program in programs:
        for one in all_programs(program):
            for step in one.steps:
                if step.kernel in rounding:
                    classes = [_class_of(one, arg, known) for arg in _arguments(step, functions[step.kernel])]
                    found.setdefault(step.kernel, []).append(classes)
    noted = dict(functions)
    for name, calls in found.items():
        classes = [largest(list(every)) for every in zip(*calls, strict=True)]
        if any(classes):
            noted[name] = functions[name].with_attr(BOUNDS, classes)
    return noted


def _rounds(function: Any) -> bool:
    return bool(nodes_of(function.body, ir.Call, lambda call: is_call(call, "tirx.nearbyint")))


def _arguments(step: Step, function: Any) -> list[int | None]:
    """What a step passes for each parameter; numbers come together, in an array whose place is one argument."""
    numbers = [is_scalar(param) for param in function.params]
    arrays = [arg for place, arg in enumerate(step.args) if place != numbers.index(True)] if any(numbers) else step.args
    left = iter(arrays)
    return [None if number else next(left) for number in numbers]


def _class_of(program: Program, arg: int | None, known: dict[int, str]) -> str:
    value = None if arg is None else program.values[arg]
    if value is None or value.kind != "constant" or value.dtype != "float32":
        return ""
    if value.slot not in known:
        known[value.slot] = class_of(np.asarray(program.constants[value.slot]))
    return known[value.slot]
