"""Sizes, latency and accuracy of a model by precision, for a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import write_text
from ..frontend.prepare import Model
from ..pipeline import PRECISIONS, QUANTISED, Artifact, Clock, Options, compile_with
from ..runtime.loader import LoadError
from ..runtime.loader import Model as Loaded
from ..target import load_target
from .html import precision_report
from .latency import measure

if TYPE_CHECKING:
    from ..quantize.post_training import Quantised

FLOATS = tuple(precision for precision in PRECISIONS if precision not in QUANTISED)

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


def measure_variant(artifact: Artifact, score: Callable[[Run], float] | None) -> Variant:
    """Size, and speed and score where it runs.

    Args:
        score: gives the score for a function that runs the artifact.
    """
    manifest = artifact.manifest
    found = Variant(manifest["precision"], artifact.size, manifest["memory"]["weights_bytes"])
    try:
        latency = measure(artifact.path, seconds=_SECONDS)
        with Loaded(artifact.path) as loaded:
            scored = score(loaded.run) if score else None
    except LoadError as error:
        return replace(found, note=f"does not run here: {error}")
    return replace(found, seconds=latency.median, threads=latency.threads, score=scored)


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


def write_report(
    path: Path, title: str, model: Model, options: Options, artifact: Artifact, quantised: Quantised | None
) -> None:
    """Compiles the model at the other precisions, measures all of them here, and writes the page.

    Args:
        model, options: before a quantisation; those of `artifact` otherwise.
        artifact: in its place.
        quantised: what the artifact was made from, if it was quantised.
    """
    others = [precision for precision in FLOATS if precision != options.precision]
    with _scorer(quantised, options.cache) as score:
        variants = other_precisions(model, options, others, score)
        variants.append(measure_variant(artifact, score))
    variants.sort(key=lambda variant: PRECISIONS.index(variant.precision))
    threads = next((str(v.threads) for v in variants if v.threads), "not run here")
    facts = {
        "model": title,
        "target": f"{options.target.name} ({options.target.triple}, {options.target.core})",
        "latency": f"on this machine ({load_target('host').core}), threads: {threads}",
    }
    accuracy = quantised.accuracy.to_dict() if quantised and quantised.accuracy else None
    page = precision_report(f"{model.name}: precisions", facts, [v.to_dict() for v in variants], accuracy)
    write_text(path, page)


@contextmanager
def _scorer(quantised: Quantised | None, cache: bool) -> Iterator[Callable[[Run], float] | None]:
    """What scores a model on the samples that the quantised one was scored on; None if there are none."""
    if quantised is None or quantised.accuracy is None or quantised.samples is None:
        yield None
        return
    from ..quantize.metrics import find_metric
    from ..quantize.runner import Runner

    with Runner(quantised.floats.proto, cache=cache) as floats:
        yield find_metric(quantised.accuracy.metric, quantised.samples, floats, quantised.floats).score
