"""Sizes, latency and accuracy of a model by precision, for a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..frontend.prepare import Model
from ..pipeline import Artifact, Clock, Options, compile_with
from ..runtime.loader import LoadError
from .latency import measure

_SECONDS = 1.0  # of measuring, for each precision

Feeds = dict[str, Any]
Run = Callable[[Feeds], dict[str, Any]]


@dataclass(frozen=True)
class Variant:
    """A model at a precision.

    Attributes:
        bytes, weights_bytes: of the artifact; None if there is none.
        seconds: the median of a run on this machine; None where it does not run.
        threads: of these runs.
        score: by the metric; None where it was not scored.
        note: what is missing, and why.
    """

    precision: str
    bytes: int | None = None
    weights_bytes: int | None = None
    seconds: float | None = None
    threads: int | None = None
    score: float | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_variant(artifact: Artifact, score: Callable[[Run], float] | float | None) -> Variant:
    """Size, and speed and score where it runs.

    Args:
        score: the score, or what gives it for a function that runs the artifact.
    """
    manifest = artifact.manifest
    found = Variant(manifest["precision"], artifact.size, manifest["memory"]["weights_bytes"])
    try:
        latency = measure(artifact.path, seconds=_SECONDS)
        found = replace(found, seconds=latency.median, threads=latency.threads)
        if callable(score):
            from ..runtime.loader import Model as Loaded

            with Loaded(artifact.path) as loaded:
                score = score(lambda feeds: dict(loaded.run(feeds)))
    except LoadError as error:
        found = replace(found, note=f"does not run here: {error}")
        score = None if callable(score) else score
    return replace(found, score=score)


def other_precisions(
    model: Model, options: Options, precisions: Sequence[str], score: Callable[[Run], float] | None
) -> list[Variant]:
    """The model compiled at these precisions for the same target, into files that are removed again."""
    found = []
    with tempfile.TemporaryDirectory(prefix="edgec-report-") as folder:
        for precision in precisions:
            out = Path(folder) / f"{precision}.so"
            try:
                artifact = compile_with(model, replace(options, out=out, precision=precision, dump=None), Clock())
            except UserError as error:
                found.append(Variant(precision, note=error.what))
                continue
            found.append(measure_variant(artifact, score))
    return found
