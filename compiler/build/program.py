"""The host program as data: which kernel runs on which values, in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm_ffi


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
class Step:
    """One call: a kernel, or a copy (kernel None) of the first argument to the second.

    Attributes:
        args: values, the kernel's results last.
        outputs: how many of the last arguments are results.
        paste: where in its result the step copies its first argument to, if it does nothing else. The rest of the
            result is what was there before.
        cut: where in its first argument it copies its result from, if it does nothing else.
    """

    kernel: str | None
    args: tuple[int, ...]
    outputs: int = 1
    paste: tuple[int, ...] | None = None
    cut: tuple[int, ...] | None = None


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
    """

    program: str
    layouts: tuple[Layout | None, ...]


@dataclass
class Program:
    """Steps over values.

    Attributes:
        constants: the arrays behind the values of kind `constant`, each once.
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


def kernel_uses(program: Program) -> Mapping[str, int]:
    """How often each kernel is called."""
    counts: dict[str, int] = {}
    for step in program.steps:
        if step.kernel is not None:
            counts[step.kernel] = counts.get(step.kernel, 0) + 1
    return counts
