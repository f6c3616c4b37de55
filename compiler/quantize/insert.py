"""Writes a quantised model: QuantizeLinear and DequantizeLinear around operators on floats."""

from __future__ import annotations

from ..frontend.prepare import Model
from .ranges import Statistics
from .settings import Settings


def quantizable(model: Model, settings: Settings) -> list[str]:
    """Names of the nodes that `quantize_model` would compute with integers, in the graph's order.

    Args:
        model: from `float_model`.
    """
    raise NotImplementedError


def quantize_model(model: Model, settings: Settings, statistics: Statistics | None = None) -> Model:
    """The quantised model; its inputs, outputs and the names of its nodes and of the float tensors are as before.

    Args:
        model: from `float_model`.
        statistics: of it, from `observe`; not needed for `int8-dynamic`.
    """
    raise NotImplementedError
