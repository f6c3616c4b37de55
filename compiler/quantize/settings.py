"""What a quantisation was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..kernels.limits import Limits

# By precision, the bits of weights that are read as they are, while the rest stays in floats.
WEIGHT_BITS = {"int8-weights": 8, "int4-weights": 4}
PRECISIONS = ("int8", "int8-dynamic", *WEIGHT_BITS)
WEIGHT_RANGES = ("target", "whole")
METHODS = ("minmax", "percentile", "entropy", "mse")


@dataclass(frozen=True)
class Pruning:
    """Which weights become zero, see `prune.prune`."""

    sparsity: float
    structure: str = "weights"
    scope: str = "global"


@dataclass(frozen=True)
class Settings:
    """How a model is quantised.

    Attributes:
        precision: `int8` for weights and activations, the latter with ranges that sample data gave; `int8-dynamic` for
            weights, while products quantise what they read when they run; `int8-weights` and `int4-weights` for the
            weights of large products alone, a scale for a few dozen of them.
        method: how a tensor's range follows from its values, see `ranges.py`.
        percentile: of the values that are kept by the method of that name, in percent.
        per_channel: a scale for each output channel of a weight, not one for all of it.
        keep: names of nodes that stay in float; a node without a name goes by its first result's.
        equalise: give the channels of a tensor steps of their own where their ranges differ much, see `equalise.py`.
        correct_bias: take the mean of what rounding the weights adds off the biases.
        dots: whether the target has instructions for dot products of bytes, without which `int8-dynamic` leaves
            convolutions in float.
        limits: of the target, to whose fastest kernels weights are fitted, see `weight_range.py`; None for no fitting.
        whole_range: names of nodes whose weights are not.
        pruning: makes weights zero, and nothing else is done.
        cache: take compiled kernels from the cache, of the models that are run for it, and put new ones there.
    """

    precision: str = "int8"
    method: str = "mse"
    percentile: float = 99.99
    per_channel: bool = True
    keep: frozenset[str] = frozenset()
    equalise: bool = True
    correct_bias: bool = True
    dots: bool = True
    limits: Limits | None = None
    whole_range: frozenset[str] = frozenset()
    pruning: Pruning | None = None
    cache: bool = True
