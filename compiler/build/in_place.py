"""Results in the memory of an argument that nobody needs any more.

A residual that is added to a convolution's result, or the input of an activation that stands alone, dies where the
result begins. Which kernels can write over it is known when they are scheduled (kernels/in_place.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .memory import live_ranges, plan_memory
from .objects import CompiledKernel
from .program import Program, Step, all_programs
from .views import compact_strides


def offer_arguments(program: Program) -> None:
    """Lets the steps whose result might take the place of an argument name kernels that are compiled for that.

    Only where the memory plan could become smaller by it: such kernels may not assume that their buffers are apart.
    """
    for one in all_programs(program):
        lives = live_ranges(one)
        found = {number: _dying_arguments(one, number, step, lives) for number, step in enumerate(one.steps)}
        found = {number: places for number, places in found.items() if places}
        if not _shrinks(one, {number: places[0] for number, places in found.items()}):
            continue
        for number, places in found.items():
            step = one.steps[number]
            assert step.kernel is not None
            variant = replace(one.kernels[step.kernel], in_place=places)
            known = {known: name for name, known in one.kernels.items()}
            name = known.get(variant, f"{step.kernel}_over{len(one.kernels)}")
            one.kernels[name] = variant
            one.steps[number] = replace(step, kernel=name)
        used = {step.kernel for step in one.steps}
        one.kernels = {name: variant for name, variant in one.kernels.items() if name in used}


def share_memory(program: Program, kernels: Mapping[str, CompiledKernel]) -> None:
    """Puts the results of kernels that write over an argument where the argument is."""
    for one in all_programs(program):
        for step in one.steps:
            argument = None if step.kernel is None else kernels[step.kernel].in_place
            if argument is not None:
                _overwrite(one, step, argument)


def _overwrite(program: Program, step: Step, argument: int) -> None:
    result = program.values[step.args[-1]]
    program.values[result.index] = replace(result, alias=program.root(step.args[argument]))


def _shrinks(program: Program, arguments: Mapping[int, int]) -> bool:
    """Whether less memory is needed if the results of steps overwrite these arguments, given by the steps' numbers."""
    if not arguments:
        return False
    changed = replace(program, values=list(program.values))
    for number, argument in arguments.items():
        _overwrite(changed, program.steps[number], argument)
    return plan_memory(changed).arena_bytes < plan_memory(program).arena_bytes


def _dying_arguments(
    program: Program, number: int, step: Step, lives: Mapping[int, tuple[int, int]]
) -> tuple[int, ...]:
    """Which of a step's arguments are read for the last time, and are like the result in all that matters."""
    result = program.values[step.args[-1]]
    alone = result.kind == "temporary" and result.alias is None and result.strides is None and not result.offset
    if step.kernel is None or step.outputs != 1 or not alone or lives[result.index][0] != number:
        return ()
    roots = [program.root(index) for index in step.args]
    found = []
    for place, (index, root) in enumerate(zip(step.args[:-1], roots[:-1], strict=True)):
        value, owner = program.values[index], program.values[root]
        compact = value.strides in (None, compact_strides(value.shape)) and not value.offset
        same = (value.shape, value.dtype, owner.nbytes) == (result.shape, result.dtype, result.nbytes)
        dies = root in lives and lives[root][1] == number and roots.count(root) == 1
        if owner.kind == "temporary" and compact and same and dies:
            found.append(place)
    return tuple(found)
