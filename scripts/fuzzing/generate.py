"""Random models, each a function of its seed."""

from __future__ import annotations

import random

from scripts.onnx_cases.cases import Case

from . import dense, elementwise, flow, moves, recurrent, reductions
from .builder import FLOATS, Builder, Unfit, Value, spread_of

_FAMILIES = ((30, elementwise), (25, moves), (25, dense), (14, reductions), (4, flow), (4, recurrent))
_TRIES = 30
_RTOL = 1e-3
_SLACK = 8.0  # a few more roundings than the noise stands for


def generate(seed: str) -> Case:
    """A model with its inputs and what it computes."""
    rng = random.Random(seed)
    while True:
        builder = Builder(rng)
        wanted, tries = rng.randint(1, 7), 0
        while len(builder.nodes) < wanted and tries < _TRIES:
            tries += 1
            _grow(builder)
        if builder.nodes:
            break
    model, inputs, outputs = builder.model()
    model.graph.name = f"fuzz-{seed}"
    arrays = tuple(value.array for value in inputs), tuple(value.array for value in outputs)
    tolerance = tuple(map(_tolerance, outputs))
    return Case(f"fuzz-{seed}", "fuzz", model, *arrays, _RTOL, tolerance, model, tuple(range(len(inputs))))


def _grow(builder: Builder) -> None:
    """Adds an operator, or leaves the graph as it is."""
    (_, family) = builder.rng.choices(_FAMILIES, [weight for weight, _ in _FAMILIES])[0]
    weights = [weight for weight, _ in family.RULES]
    (_, rule) = builder.rng.choices(family.RULES, weights)[0]
    kept = [list(part) for part in (builder.pool, builder.inputs, builder.constants, builder.nodes)]
    try:
        rule(builder)
    except Unfit:
        builder.pool, builder.inputs, builder.constants, builder.nodes = kept


def _tolerance(value: Value) -> float:
    """What an output may be wrong by, beside its relative error."""
    return _SLACK * spread_of(value.runs) if value.dtype in FLOATS else 0.0
