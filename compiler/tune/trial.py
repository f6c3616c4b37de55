"""A trial: an artifact with several versions of one program, whose kernels are scheduled differently.

The versions share constants and memory, so that a board runs them in turns, each kernel with its data and constants in
the caches as the program leaves them. What chooses a version is the shape of an input that none of them reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from ..build.artifact import build_artifact
from ..build.cache import Cache
from ..build.extract import Constants
from ..build.in_place import share_memory
from ..build.objects import CompiledKernel, Objects
from ..build.program import Branch, Program, Repeat, Value
from ..build.version import Version
from ..frontend.prepare import Model, Tensor
from ..target import Target


@dataclass(frozen=True)
class Variant:
    """A version of a trial's program.

    Attributes:
        program: as it was lowered; it is not changed.
        kernels: of its steps, by the names that they know them by.
    """

    program: Program
    kernels: Mapping[str, CompiledKernel]


def build_trial(
    variants: Sequence[Variant],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    target: Target,
    folder: Path,
    cache: Cache | None,
) -> Path:
    """Links the artifact, for runtime/measure.py.

    Args:
        variants: at least two.
        inputs, outputs: of all of them. What is shape and text to others is plain numbers here.
        folder: empty and private.
    """
    given = tuple(replace(tensor, strings=False, sizes=()) for tensor in inputs)
    made = tuple(replace(tensor, strings=False, sizes=()) for tensor in outputs)
    constants, places = Constants(), dict[int, list[int]]()
    versions, kernels = list[Version](), dict[str, CompiledKernel]()
    for number, variant in enumerate(variants):
        arrays = variant.program.constants
        if id(arrays) not in places:
            places[id(arrays)] = [constants.place(str(array.dtype), array) for array in arrays]
        symbols = {name: kernel.symbol for name, kernel in variant.kernels.items()}
        program = _copied(variant.program, symbols, places[id(arrays)], constants)
        program.values.append(Value(len(program.values), "input", "uint8", (number + 1,), len(given)))
        kernels |= {kernel.symbol: kernel for kernel in variant.kernels.values()}
        share_memory(program, kernels)
        versions.append(Version((*given, Tensor("edgec_version", "uint8", (number + 1,))), made, program))
    table = [
        {"name": symbol, "rule": one.rule, "symbol": symbol, "parameters": dict(one.parameters)}
        for symbol, one in kernels.items()
    ]
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "trial", [], []))
    model = Model("trial", empty, "0" * 64)
    return build_artifact(model, versions, Objects(kernels, 0), table, target, folder, cache, pack=False).path


def _copied(program: Program, symbols: Mapping[str, str], places: Sequence[int], constants: Constants) -> Program:
    """With kernels known by their symbols, and constants in their new places."""

    def flow_of(flow: Branch | Repeat | None) -> Branch | Repeat | None:
        match flow:
            case Branch():
                return Branch(*(_copied(body, symbols, places, constants) for body in flow.bodies))
            case Repeat():
                return replace(flow, body=_copied(flow.body, symbols, places, constants))
        return None

    values = [
        replace(value, slot=places[value.slot]) if value.kind == "constant" else value for value in program.values
    ]
    steps = [
        replace(step, kernel=None if step.kernel is None else symbols[step.kernel], flow=flow_of(step.flow))
        for step in program.steps
    ]
    return Program(values, steps, constants.arrays)
