"""What a model is worth on sample data: metrics by name, of which more is better."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..frontend.prepare import Model
from ..verify.labels import class_output, labels_of
from ..verify.similarity import Similarity
from .data import Feeds, Samples, batch_of, inputs_of
from .detections import Detections, detections_of, mean_average_precision

Array = np.ndarray[Any, Any]
Run = Callable[[Feeds], dict[str, Array]]

METRICS = ("top1", "map50", "cosine")
_MOST_KEPT = 256 << 20  # bytes of the float model's outputs; of more, they are computed again each time


@dataclass(frozen=True)
class Metric:
    """A way to score a model.

    Attributes:
        name: as the user gave it.
        against: what results are compared with: `labels`, `boxes`, `the float model` or `FILE.py`.
        score: of a model that `run` runs; 1.0 is perfect for metrics of ours.
    """

    name: str
    against: str
    score: Callable[[Run], float]


def find_metric(name: str | None, samples: Samples, floats: Run, model: Model) -> Metric:
    """The metric of a name; without one, top1 of classifiers and cosine of other models.

    Args:
        name: one of `METRICS`, or `FILE.py:function`, where `function(run, samples)` gives a number of which more is
            better; `run` turns feeds into outputs by name, `samples` are the feeds.
        floats: runs the float model, which metrics compare with where the samples have no truth of their own.
        model: whose inputs say how many samples are in a feed.

    Raises:
        UserError: no such metric, the file cannot be used, or the outputs are not what the metric is for.
    """
    batch = batch_of(model)
    first = floats(next(iter(samples)))
    if name is None:
        name = "top1" if class_output(first, batch) is not None else "cosine"
    if name == "top1":
        return _top1(samples, _Kept(floats, samples), first, batch, model.name)
    if name == "map50":
        return _map50(samples, _Kept(floats, samples), first, model)
    if name == "cosine":
        return _cosine(samples, _Kept(floats, samples))
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise UserError(f"there is no metric {name!r}", fix=f"give {', '.join(METRICS)}, or FILE.py:function")
    return _own(Path(path), function, name, samples)


class _Kept:
    """The float model's outputs for each of the samples, kept while they are small."""

    def __init__(self, run: Run, samples: Samples) -> None:
        self._run, self._samples = run, samples
        self._outputs: list[dict[str, Array]] = []
        self._bytes = 0

    def __call__(self, number: int, feeds: Feeds) -> dict[str, Array]:
        if number < len(self._outputs):
            return self._outputs[number]
        outputs = {name: np.array(array) for name, array in self._run(feeds).items()}
        self._bytes += sum(array.nbytes for array in outputs.values())
        if number == len(self._outputs) and self._bytes <= _MOST_KEPT:
            self._outputs.append(outputs)
        return outputs


def _top1(samples: Samples, floats: _Kept, first: dict[str, Array], batch: int, where: str) -> Metric:
    """Which share of samples gets its label, or the one that the float model gives it."""
    name = class_output(first, batch)
    if name is None:
        found = ", ".join(f"{n} {list(a.shape)}" for n, a in first.items())
        what = f"no output looks like scores of classes: {found}"
        raise UserError(what, where, "choose another metric: cosine, or a function of your own as FILE.py:function")
    truth = samples.truth.get("labels")

    def score(run: Run) -> float:
        equal = count = 0
        for number, feeds in enumerate(samples):
            made = labels_of(run(feeds)[name], batch)
            wanted = truth[number] if truth else labels_of(floats(number, feeds)[name], batch)
            equal += int(np.sum(made == wanted))
            count += batch
        return equal / count

    return Metric("top1", "labels" if truth else "the float model", score)


def _cosine(samples: Samples, floats: _Kept) -> Metric:
    """The cosine between the outputs and the float model's, of the output with the least."""

    def score(run: Run) -> float:
        sums: dict[str, Similarity] = {}
        for number, feeds in enumerate(samples):
            made = run(feeds)
            for name, wanted in floats(number, feeds).items():
                if wanted.dtype.kind in "fiub":
                    sums.setdefault(name, Similarity()).add(made[name], wanted)
        return min((one.cosine for one in sums.values()), default=1.0)

    return Metric("cosine", "the float model", score)


def _map50(samples: Samples, floats: _Kept, first: dict[str, Array], model: Model) -> Metric:
    """Mean average precision at half overlap, against boxes of the samples or the float model's own detections."""
    pictures = [shape for _, shape in inputs_of(model).values() if len(shape) == 4]
    detect = detections_of(first, pictures[0] if pictures else None, model.name)
    truth = samples.truth.get("boxes")

    def score(run: Run) -> float:
        found: list[Detections] = []
        wanted: list[Detections] = []
        for number, feeds in enumerate(samples):
            found.append(detect(run(feeds)))
            if truth:
                rows = np.asarray(truth[number], np.float64).reshape(-1, 5)
                wanted.append(Detections(rows[:, 0].astype(np.int64), rows[:, 1:], np.ones(len(rows))))
            else:
                wanted.append(detect(floats(number, feeds)).above(0.25))
        return mean_average_precision(found, wanted)

    return Metric("map50", "boxes" if truth else "the float model", score)


def _own(path: Path, function: str, name: str, samples: Samples) -> Metric:
    """A function in a file of the user's, who asked for it to be run."""
    fix = "give FILE.py:function, where function(run, samples) returns a number of which more is better"
    if not path.is_file():
        raise UserError("the metric's file does not exist", str(path), fix)
    spec = importlib.util.spec_from_file_location(f"edgec_metric_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # for it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in it look there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"the metric's file fails: {type(error).__name__}: {error}", str(path), fix) from error
    call = getattr(module, function, None)
    if not callable(call):
        raise UserError(f"the metric's file has no function {function!r}", str(path), fix)

    def score(run: Run) -> float:
        try:
            return float(call(run, samples))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the metric fails: {type(error).__name__}: {error}", name, fix) from error

    return Metric(name, path.name, score)
