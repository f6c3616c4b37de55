"""Pruning whose loss is measured on sample data, and kept within a bound."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import onnx

from ..errors import UserError
from ..frontend.prepare import load_model
from .control import Accuracy, Progress, measure_accuracy
from .data import Source, load_calibration
from .floats import float_model
from .settings import Pruning, Settings


def prune_within(
    model: str | os.PathLike[str] | onnx.ModelProto,
    sparsity: float,
    data: Source,
    max_drop: float | None = None,
    structure: str = "weights",
    scope: str = "global",
    metric: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
) -> tuple[onnx.ModelProto, Accuracy]:
    """A model pruned as by `prune`, in which layers get their weights back, those that add most noise first, until it
    has lost no more of the metric than allowed; and what it lost.

    Args:
        data: samples, as of `load_calibration`.
        max_drop: how much the score may fall; None for anything.
        metric: as of `find_metric`.
        shapes: of inputs that are dynamic.

    Raises:
        UserError: as `prune`, or the bound cannot be kept.
    """
    given = load_model(model)
    floats = float_model(given, shapes)
    samples = load_calibration(data, floats)
    settings = Settings("fp32", pruning=Pruning(sparsity, structure, scope))
    pruned, accuracy = measure_accuracy(floats, samples, settings, None, metric, max_drop, progress)
    if not accuracy.reached:
        what = f"{accuracy.metric} falls by more than {max_drop}, whichever layers keep their weights"
        raise UserError(what, given.name, "allow more with max_drop, or ask for a smaller sparsity")
    return pruned.proto, accuracy
