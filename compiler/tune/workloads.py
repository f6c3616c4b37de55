"""What there is to tune in a model: its different kernels, with what they are called on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..build.objects import canonical_form
from ..build.program import Program, Step, all_programs
from ..build.variants import pointer_offset
from ..build.version import Version
from ..build.workload_key import workload_key
from ..kernels.cost import Cost, cost_of
from ..kernels.in_place import IN_PLACE

Array = np.ndarray[Any, Any]

# Of the time that a kernel inside control flow is thought to take, what may be left of it: nobody knows what ran in the
# step, and how often.
LEAST_LEFT = 0.5


@dataclass(frozen=True)
class Argument:
    """What a kernel gets a pointer to.

    Attributes:
        kind: `data` that another kernel made or the caller gives, `constant`, or `result`.
        dtype: of its elements.
        nbytes: from the pointer to the end of the tensor.
        content: the bytes of a constant.
    """

    kind: str
    dtype: str
    nbytes: int
    content: Array | None = None


@dataclass(frozen=True)
class Workload:
    """A kernel of a model.

    Attributes:
        key: digest of its tensor program; equal kernels of all models share it.
        names: of the kernel in the model; some steps may know it by others.
        program: the canonical tensor program, not scheduled.
        arguments: of its first call.
        steps: of the program for each of its calls; those inside control flow count once, for the step that it is.
        cost: of a call.
        share: of its steps' time, by estimate; below 1 if other kernels are in the same step of control flow.
    """

    key: str
    names: tuple[str, ...]
    program: Any
    arguments: tuple[Argument, ...]
    steps: tuple[int, ...]
    cost: Cost
    share: float = 1.0

    @property
    def calls(self) -> int:
        """In a run of the model."""
        return len(self.steps)


def workloads_of(versions: Sequence[Version], programs: Mapping[str, Any]) -> list[Workload]:
    """The different kernels of a model's largest version, in the order of their first calls.

    Args:
        programs: the tensor programs of the kernels, by name.
    """
    keys = {name: workload_key(program) for name, program in programs.items()}
    whole = versions[-1].program
    found: dict[str, Workload] = {}
    for number, outer in enumerate(whole.steps):
        for program, step in _calls(whole, outer):
            assert step.kernel is not None
            key = keys[step.kernel]
            if key in found:
                known = found[key]
                names = tuple(dict.fromkeys((*known.names, step.kernel)))
                found[key] = replace(known, names=names, steps=(*known.steps, number))
                continue
            arguments = tuple(
                _argument(program, whole.constants, index, place >= len(step.args) - step.outputs)
                for place, index in enumerate(step.args)
            )
            plain = canonical_form(programs[step.kernel].without_attr(IN_PLACE))
            found[key] = Workload(key, (step.kernel,), plain, arguments, (number,), cost_of(programs[step.kernel]))
    return list(found.values())


def _calls(program: Program, step: Step) -> Iterator[tuple[Program, Step]]:
    """The calls of kernels that a step of a program is, with the programs that they are in."""
    if step.kernel is not None:
        yield program, step
    for body in step.flow.bodies if step.flow else ():
        for one in all_programs(body):
            yield from ((one, inner) for inner in one.steps if inner.kernel is not None)


def _argument(program: Program, constants: Sequence[Array], index: int, result: bool) -> Argument:
    value, root = program.values[index], program.values[program.root(index)]
    begin = pointer_offset(value)
    if root.kind == "constant":
        content = constants[root.slot].reshape(-1).view(np.uint8)[begin:]
        return Argument("constant", value.dtype, content.nbytes, content)
    return Argument("result" if result else "data", value.dtype, root.nbytes - begin)
