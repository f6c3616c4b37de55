"""What an artifact holds for one choice of its inputs' shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..frontend.float_products import FloatProduct
from ..frontend.prepare import Tensor
from .memory import MemoryPlan, plan_memory
from .program import Program


@dataclass(frozen=True)
class Version:
    """A program for fixed shapes, and its memory plan. An artifact has several; they share weights and kernels.

    Attributes:
        vocabulary: the strings of the model, in the order of their codes.
        kept: kernels whose results stay float32 because 16 bits are too few for them.
        floats: of a model with integer products, those that are not.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    program: Program
    vocabulary: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    floats: tuple[FloatProduct, ...] = ()

    @cached_property
    def plan(self) -> MemoryPlan:
        """Of the program as it is when this is asked first."""
        return plan_memory(self.program)
