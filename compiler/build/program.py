"""The host program as data: which kernel runs on which values, in order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm_ffi

from ..frontend.flow import Facts


@dataclass(frozen=True)
class Value:
    """A tensor of the program.

    Attributes:
        index: its place in `Program.values`.
        kind: `input`, `output` (written into the caller's buffer), `constant` or `temporary`.
        slot: which input, output or constant; -1 for a temporary.
        alias: the value whose memory this one is another view of; None if it has its own.
        offset: elements before its first one in the memory of the value that owns it.
        strides: elements from one index to the next along each axis; None for those of a compact array.
    """

    index: int
    kind: str
    dtype: str
    shape: tuple[int, ...]
    slot: int = -1
    alias: int | None = None
    offset: int = 0
    strides: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.item_bytes

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return int(tvm_ffi.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Branch:
    """One of two programs, `then` if the step's first argument is true; both get the other arguments."""

    then: Program
    otherwise: Program

    @property
    def bodies(self) -> tuple[Program, ...]:
        return (self.then, self.otherwise)


@dataclass(frozen=True)
class Repeat:
    """A program that runs a number of times, with what it made the time before.

    The step's arguments are ([trips], [condition], carried..., scanned..., others...); its results those carried, those
    stacked, and [how often it ran]. The body gets ([number, condition], carried..., elements of scanned..., others...),
    and makes ([condition], carried..., elements of stacked...).
    """

    body: Program
    facts: Facts

    @property
    def bodies(self) -> tuple[Program, ...]:
        return (self.body,)


@dataclass(frozen=True)
class Step:
    """One call: a kernel, control flow, or else a copy of the first argument to the second.

    Attributes:
        args: values, the kernel's results last.
        outputs: how many of the last arguments are results.
        paste: where in its result the step copies its first argument to, if it does nothing else. The rest of the
            result is what was there before.
        cut: where in its first argument it copies its result from, if it does nothing else.
        flow: the programs that it runs, if it is control flow.
    """

    kernel: str | None
    args: tuple[int, ...]
    outputs: int = 1
    paste: tuple[int, ...] | None = None
    cut: tuple[int, ...] | None = None
    flow: Branch | Repeat | None = None


@dataclass(frozen=True)
class Layout:
    """Where a value's elements are in memory: elements before the first, and from one index to the next."""

    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """A tensor program for arguments that lie in memory in a certain way.

    Attributes:
        program: its name.
        layouts: of each argument; None for an aligned array without gaps.
        in_place: arguments of which the result may take the memory of one, if the program can be scheduled so.
    """

    program: str
    layouts: tuple[Layout | None, ...]
    in_place: tuple[int, ...] = ()


@dataclass
class Program:
    """Steps over values.

    Attributes:
        constants: the arrays behind the values of kind `constant`, each once; programs inside share them.
        kernels: what the kernels that the steps name are compiled from.
    """

    values: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    constants: list[np.ndarray[Any, Any]] = field(default_factory=list)
    kernels: dict[str, Variant] = field(default_factory=dict)

    def root(self, index: int) -> int:
        """The value that owns the memory of `index`."""
        while (alias := self.values[index].alias) is not None:
            index = alias
        return index


@dataclass(frozen=True)
class RepeatArguments:
    """The arguments of a step that is a Repeat, by what they are for."""

    trips: int | None
    condition: int | None
    carried: tuple[int, ...]
    scanned: tuple[int, ...]
    others: tuple[int, ...]
    results: tuple[int, ...]  # of those carried
    stacked: tuple[int, ...]
    iterations: int | None


def repeat_arguments(facts: Facts, step: Step) -> RepeatArguments:
    inputs, results = list(step.args[: len(step.args) - step.outputs]), step.args[len(step.args) - step.outputs :]
    trips = inputs.pop(0) if facts.trips == -1 else None
    condition = inputs.pop(0) if facts.asks else None
    after = facts.carried + len(facts.scanned)
    return RepeatArguments(
        trips,
        condition,
        tuple(inputs[: facts.carried]),
        tuple(inputs[facts.carried : after]),
        tuple(inputs[after:]),
        results[: facts.carried],
        results[facts.carried : facts.carried + len(facts.stacked)],
        results[-1] if facts.measures else None,
    )


def element_bytes(value: Value) -> int:
    """Bytes of what there is for one index of a value's first axis."""
    return math.prod(value.shape[1:]) * value.item_bytes


def all_programs(program: Program) -> Iterator[Program]:
    """The program, and those that its control flow runs, at any depth."""
    yield program
    for step in program.steps:
        for body in step.flow.bodies if step.flow else ():
            yield from all_programs(body)


def kernel_uses(program: Program) -> Mapping[str, int]:
    """In how many steps each kernel is called, those of control flow counted once."""
    return Counter(step.kernel for one in all_programs(program) for step in one.steps if step.kernel is not None)
