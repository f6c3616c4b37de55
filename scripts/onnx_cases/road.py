"""Cases on the road of every model: frontend, passes, kernels, host program, linker, loader.

Linking takes longer than all that comes before it. So the programs of many cases become one, with the inputs and
outputs of all, and are linked, loaded and run once. Nothing else is shared: each case is a model of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compiler.build.artifact import build_artifact
from compiler.build.cache import Cache
from compiler.build.extract import Constants
from compiler.build.lower import lower as lower_prepared
from compiler.build.objects import CompiledKernel, Objects, compile_kernels
from compiler.build.program import Program, kernel_uses
from compiler.build.version import Version
from compiler.frontend.prepare import Model, Tensor, load_model, prepare
from compiler.runtime.loader import Model as Loaded
from compiler.target import Target

from .cases import Case, inputs_of
from .compare import difference
from .isolated import Send

_THREADS = 2


@dataclass(frozen=True)
class Lowered:
    """A compiled case that is not linked yet."""

    case: Case
    version: Version
    kernels: dict[str, CompiledKernel]


def lower(case: Case, target: Target, cache: Cache, constants: Constants) -> Lowered:
    """Compiles a case up to its kernels, whose names begin with the case's.

    Args:
        constants: shared by the cases that may be joined.

    Raises:
        UserError: it cannot be compiled.
        Exception: what TVM raises.
    """
    model = load_model(case.static)
    given = zip((value.name for value in inputs_of(case.static.graph)), case.left, strict=True)
    prepared = prepare(model, {name: case.inputs[place].shape for name, place in given})
    version, programs = lower_prepared(prepared, target, model.name, f"{case.name}.", constants)
    return Lowered(case, version, compile_kernels(programs, target, cache).kernels)


def join(parts: Sequence[Lowered]) -> Lowered:
    """One program that does what all do, one after the other; names of tensors begin with the part's number.

    A part that has a vocabulary is the only one.
    """
    begin = parts[0].version
    program, kernels = Program(constants=begin.program.constants), {}
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    for number, part in enumerate(parts):
        first, slots = len(program.values), {"input": len(inputs), "output": len(outputs)}
        for value in part.version.program.values:
            program.values.append(
                replace(
                    value,
                    index=first + value.index,
                    slot=value.slot + slots.get(value.kind, 0),
                    alias=None if value.alias is None else first + value.alias,
                )
            )
        for step in part.version.program.steps:
            program.steps.append(replace(step, args=tuple(first + index for index in step.args)))
        kernels.update(part.kernels)
        inputs += [_numbered(tensor, number) for tensor in part.version.inputs]
        outputs += [_numbered(tensor, number) for tensor in part.version.outputs]
    version = Version(tuple(inputs), tuple(outputs), program, begin.vocabulary)
    return Lowered(parts[0].case, version, kernels)


def _numbered(tensor: Tensor, number: int) -> Tensor:
    sizes = tuple((axis, f"{number}.{name}") for axis, name in tensor.sizes)
    return replace(tensor, name=f"{number}.{tensor.name}", sizes=sizes)


def run(parts: Sequence[Lowered], target: Target, cache: Cache, send: Send) -> None:
    """Links cases, runs them, and sends for each its name and what is wrong, if anything."""
    joined = join(parts)
    table = [
        {"name": name, "calls": calls, "symbol": joined.kernels[name].symbol}
        for name, calls in sorted(kernel_uses(joined.version.program).items())
    ]
    with tempfile.TemporaryDirectory(prefix="edgec-cases-") as folder:
        linked = build_artifact(
            Model("cases", onnx.ModelProto(), ""),
            [joined.version],
            Objects(joined.kernels, 0),
            table,
            target,
            Path(folder),
            cache,
        )
        with Loaded(linked.path, _THREADS) as loaded:
            results = loaded.run(dict(_given(parts)))
            bfloat16 = {tensor.name for tensor in loaded.outputs if tensor.dtype == "bfloat16"}
    for number, part in enumerate(parts):
        made = []
        for value in part.case.static.graph.output:
            name = f"{number}.{value.name}"
            made.append(_as_bfloat16(results[name]) if name in bfloat16 else results[name])
        send({"case": part.case.name, "reason": difference(made, part.case)})


def _given(parts: Sequence[Lowered]) -> Any:
    for number, part in enumerate(parts):
        names = [tensor.name for tensor in part.version.inputs]
        for name, place in zip(names, part.case.left, strict=True):
            array = part.case.inputs[place]
            yield f"{number}.{name}", array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _as_bfloat16(bits: Any) -> Any:
    return bits.view(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16))
