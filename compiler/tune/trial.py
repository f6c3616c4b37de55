"""A small artifact that runs several schedules of some kernels in turns, on the constants of a model.

A run first reads so much memory that the caches hold what they would when the model comes to a kernel again. Then each
schedule is called on constants of its own, which are as cold as the model's, after its data and the place of its result
were read, which the model's kernels before it leave warm.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm_ffi
from tvm.script import tirx as T

from ..build.artifact import build_artifact
from ..build.cache import Cache
from ..build.codegen import compile_kernel
from ..build.objects import CompiledKernel, Objects
from ..build.program import Program, Step, Value
from ..build.version import Version
from ..frontend.prepare import Model, Tensor
from ..kernels.schedule import UNSCHEDULED
from ..target import Target
from .workloads import Workload

LINE = 64  # bytes of a cache's line


@dataclass(frozen=True)
class Group:
    """Schedules of one kernel to compare, the default first."""

    workload: Workload
    kernels: Sequence[CompiledKernel]


def build_trial(groups: Sequence[Group], scrub: int, target: Target, folder: Path, cache: Cache | None) -> Path:
    """Links the artifact.

    Args:
        scrub: bytes that are read first.
        folder: empty and private.

    Returns:
        The artifact, for runtime/measure.py: its outputs are results of schedules, named `result<schedule>_<argument>`,
        and its manifest's `trial` has for each group a list of [schedule, step that it is].
    """
    writer = _Writer(target)
    writer.read(writer.add_input("scrub", "uint8", scrub))
    table = [writer.add_group(group) for group in groups]
    program = Program(writer.values, writer.steps, writer.constants)
    version = Version(tuple(writer.inputs), tuple(writer.outputs), program)
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "trial", [], []))
    model = Model("trial", empty, groups[0].workload.key)
    kernels = [
        {"name": name, "rule": one.rule, "symbol": one.symbol, "parameters": dict(one.parameters)}
        for name, one in writer.kernels.items()
    ]
    linked = build_artifact(model, [version], Objects(writer.kernels, 0), kernels, target, folder, cache)
    linked.manifest["trial"] = table
    linked.reseal()
    return linked.path


class _Writer:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.values: list[Value] = []
        self.steps: list[Step] = []
        self.constants: list[np.ndarray[Any, Any]] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.kernels: dict[str, CompiledKernel] = {}
        self.schedules = 0
        self.sink = self.add("temporary", "uint8", LINE)

    def add(self, kind: str, dtype: str, nbytes: int, slot: int = -1) -> int:
        self.values.append(Value(len(self.values), kind, dtype, (nbytes // _item_bytes(dtype),), slot))
        return len(self.values) - 1

    def add_input(self, name: str, dtype: str, nbytes: int) -> int:
        self.inputs.append(Tensor(name, dtype, (nbytes // _item_bytes(dtype),)))
        return self.add("input", dtype, nbytes, len(self.inputs) - 1)

    def read(self, index: int) -> None:
        """A step that brings a value into the caches."""
        nbytes = self.values[index].nbytes
        name = f"edgec_read_{nbytes}"
        if name not in self.kernels:
            self.kernels[name] = _compiled_reader(name, nbytes, self.target)
        self.steps.append(Step(name, (index, self.sink)))

    def add_group(self, group: Group) -> list[list[int]]:
        arguments = group.workload.arguments
        shared = {
            place: self.add_input(f"data{self.schedules}_{place}", argument.dtype, argument.nbytes)
            for place, argument in enumerate(arguments)
            if argument.kind == "data"
        }
        table = []
        for kernel in group.kernels:
            name = f"schedule{self.schedules}"
            self.kernels[name] = kernel
            args = []
            for place, argument in enumerate(arguments):
                if argument.content is not None:
                    args.append(self.add("constant", "uint8", argument.content.nbytes, len(self.constants)))
                    self.constants.append(argument.content)
                elif argument.kind == "data":
                    args.append(shared[place])
                else:
                    args.append(self.add("output", argument.dtype, argument.nbytes, len(self.outputs)))
                    count = argument.nbytes // _item_bytes(argument.dtype)
                    self.outputs.append(Tensor(f"result{self.schedules}_{place}", argument.dtype, (count,)))
            for index, argument in zip(args, arguments, strict=True):
                if argument.content is None:
                    self.read(index)
            table.append([self.schedules, len(self.steps)])
            self.steps.append(Step(name, tuple(args), sum(argument.kind == "result" for argument in arguments)))
            self.schedules += 1
        return table


@functools.lru_cache(256)
def _compiled_reader(name: str, nbytes: int, target: Target) -> CompiledKernel:
    return CompiledKernel(name, UNSCHEDULED, {}, {}, None, compile_kernel(_reader(nbytes), name, target))


def _reader(nbytes: int) -> Any:
    """A tensor program that reads a byte of each line of so many."""
    lines = -(-nbytes // LINE)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def read(data: T.Buffer((nbytes,), "uint8"), out: T.Buffer((1,), "uint8")):  # type: ignore[no-untyped-def,valid-type]
        with T.sblock("root"):
            T.reads()
            T.writes()
            out[0] = T.uint8(0)
            for line in range(lines):
                out[0] = T.bitwise_xor(out[0], data[line * LINE])

    return read


def _item_bytes(dtype: str) -> int:
    return int(tvm_ffi.dtype(dtype).itemsize)
