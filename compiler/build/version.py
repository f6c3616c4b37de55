"""What an artifact holds for one choice of its inputs' shapes."""

from __future__ import annotations

from dataclasses import dataclass

from ..frontend.prepare import Tensor
from .memory import MemoryPlan, plan_memory
from .program import Program


@dataclass(frozen=True)
class Version:
    """A program for fixed shapes, and its memory plan. An artifact has several; they share weights and kernels."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    program: Program
    plan: MemoryPlan

    @classmethod
    def of(cls, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], program: Program) -> Version:
        return cls(inputs, outputs, program, plan_memory(program))
