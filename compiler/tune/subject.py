"""What kernels are tried in: the whole model, or each of them alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tvm_ffi

from ..build.cache import Cache
from ..build.objects import CompiledKernel, compile_kernels
from ..build.program import Program, Step, Value, all_programs
from ..frontend.prepare import Tensor
from ..kernels.estimate import seconds_on_one_core
from ..pipeline import Lowered
from ..target import Target
from .trial import Variant
from .workloads import Workload, workloads_of


@dataclass(frozen=True)
class Subject:
    """A program to try schedules in.

    Attributes:
        program: its steps know kernels by the names that the workloads have.
        functions: tensor programs of the kernels, by name.
        kernels: as they are scheduled by default, by name.
        workloads: the different kernels.
        apart: whether every kernel has buffers of its own, so that none may write over an argument.
    """

    program: Program
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    functions: Mapping[str, Any]
    kernels: Mapping[str, CompiledKernel]
    workloads: tuple[Workload, ...]
    apart: bool = False

    def variant(self, changed: Mapping[str, CompiledKernel]) -> Variant:
        """The program with some kernels in place of the default ones."""
        kernels = {name: changed.get(name, kernel) for name, kernel in self.kernels.items()}
        if self.apart:
            kernels = {name: replace(kernel, in_place=None) for name, kernel in kernels.items()}
        return Variant(self.program, kernels)


def whole_model(lowered: Lowered, target: Target, cache: Cache | None) -> Subject:
    """The largest version of a model."""
    version = lowered.versions[-1]
    names = {step.kernel for one in all_programs(version.program) for step in one.steps if step.kernel is not None}
    functions = {name: program for name, program in lowered.programs.items() if name in names}
    kernels = compile_kernels(functions, target, cache).kernels
    workloads = _with_shares(workloads_of(lowered.versions, lowered.programs), version.program, target)
    return Subject(version.program, version.inputs, version.outputs, functions, kernels, tuple(workloads))


def _with_shares(workloads: Sequence[Workload], program: Program, target: Target) -> list[Workload]:
    """Kernels inside control flow are timed as the step that it is, which they share by estimate."""
    own = {workload.key: seconds_on_one_core(workload.cost, target) for workload in workloads}
    together = {number: 0.0 for number, step in enumerate(program.steps) if step.flow}
    for workload in workloads:
        for number in workload.steps:
            if number in together:
                together[number] += own[workload.key]

    def share(workload: Workload) -> float:
        parts = [own[workload.key] / together[n] if n in together else 1.0 for n in workload.steps]
        return sum(parts) / len(parts)

    return [replace(workload, share=share(workload)) for workload in workloads]


def kernels_alone(
    functions: Mapping[str, Any], kernels: Mapping[str, CompiledKernel], workloads: Sequence[Workload]
) -> Subject:
    """A call of each kernel, on data of its own and the model's constants.

    Its results are outputs whose names begin with the workload's key.

    Args:
        functions, kernels: of the workloads, by name.
    """
    program, inputs, outputs = Program(), list[Tensor](), list[Tensor]()
    for workload in workloads:
        args = []
        for place, argument in enumerate(workload.arguments):
            args.append(len(program.values))
            if argument.content is not None:
                shape, slot = argument.content.shape, len(program.constants)
                program.values.append(Value(args[-1], "constant", "uint8", shape, slot))
                program.constants.append(argument.content)
                continue
            kind, tensors = ("input", inputs) if argument.kind == "data" else ("output", outputs)
            shape = (argument.nbytes // tvm_ffi.dtype(argument.dtype).itemsize,)
            program.values.append(Value(args[-1], kind, argument.dtype, shape, len(tensors)))
            tensors.append(Tensor(f"{workload.key}_{place}", argument.dtype, shape))
        results = sum(argument.kind == "result" for argument in workload.arguments)
        program.steps.append(Step(workload.names[0], tuple(args), results))
    names = [workload.names[0] for workload in workloads]
    functions = {name: functions[name] for name in names}
    kernels = {name: kernels[name] for name in names}
    return Subject(program, tuple(inputs), tuple(outputs), functions, kernels, tuple(workloads), apart=True)
