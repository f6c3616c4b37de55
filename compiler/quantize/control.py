"""Keeps a quantised model's loss within a bound.

Layers whose weights were limited get the whole range again, then layers go back to floats, those that cost most first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..frontend.prepare import Model
from .data import Samples
from .graphs import Graph
from .insert import quantize_model
from .layers import Layer, macs_of, measure_layers, share_of_macs
from .metrics import Metric, find_metric
from .ranges import Statistics
from .runner import Runner
from .settings import Settings
from .short_steps import in_short_steps
from .spared import costs_of, spared_layers
from .weight_range import limited_layers

_ROUNDING = 1e-9  # of scores: a hundredth lost is within a drop of 0.01
LAYER_SAMPLES = 32  # that layers are compared on; sums over whole tensors settle with few

Progress = Callable[[str], None]  # told in words what was just done


@dataclass(frozen=True)
class Accuracy:
    """What quantisation cost a model.

    Attributes:
        metric, against: as of `Metric`.
        samples: how many were scored.
        float_score, score: of the float model and of the quantised one.
        without_control: the score with no layer in floats but the spared and those that the settings name; None if no
            drop was given.
        max_drop: the bound on the difference, None for none.
        kept: layers that are in floats again for it.
        spared: layers that are in floats from the start, see `spared.py`.
        kept_macs: the share of both in the model's multiplications.
        trials: how many quantised models were compiled and scored.
        layers: before any went back, the one that costs the outputs most first.
        limited: layers whose weights keep to the limit of the target's fast kernels.
        whole_range: layers whose weights do not, for the noise that it would add or for `max_drop`.
    """

    metric: str
    against: str
    samples: int
    float_score: float
    score: float
    without_control: float | None
    max_drop: float | None
    kept: tuple[str, ...]
    spared: tuple[str, ...]
    kept_macs: float
    trials: int
    layers: tuple[Layer, ...]
    limited: tuple[str, ...] = ()
    whole_range: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        return self.float_score - self.score

    @property
    def digits(self) -> int:
        """How many digits after the point scores are shown with."""
        return _digits(self.max_drop)

    @property
    def in_float(self) -> tuple[str, ...]:
        return (*self.spared, *self.kept)

    @property
    def reached(self) -> bool:
        """Whether the drop is within the bound, and products are left that are quantised, if there were any."""
        if self.max_drop is None:
            return True
        costs = {layer.name: layer.macs or not self._has_products for layer in self.layers}
        left = not self.kept or any(cost for name, cost in costs.items() if name not in self.in_float)
        return left and self.drop <= self.max_drop + _ROUNDING

    @property
    def _has_products(self) -> bool:
        return any(layer.macs for layer in self.layers)

    def to_dict(self, most_layers: int | None = None) -> dict[str, object]:
        """For JSON; with the worst layers alone if there are more than `most_layers`."""
        return {
            "metric": self.metric,
            "against": self.against,
            "samples": self.samples,
            "float": round(self.float_score, 5),
            "quantised": round(self.score, 5),
            "max_drop": self.max_drop,
            "reached": self.reached,
            "without_control": None if self.without_control is None else round(self.without_control, 5),
            "layers_in_float": list(self.in_float),
            "layers_spared": list(self.spared),
            "macs_in_float": round(self.kept_macs, 4),
            "trials": self.trials,
            "weights": self._weights(),
            "layers": [layer.to_dict() for layer in self.layers[:most_layers]],
            "layers_quantised": len(self.layers) - len(self.in_float),
        }

    def _weights(self) -> dict[str, object] | None:
        """What was done to weights for the target's kernels; None for nothing."""
        if not self.limited and not self.whole_range:
            return None
        why = "the target has no dot products of 8 bits"
        return {"limited": len(self.limited), "whole_range": list(self.whole_range), "why": why}


def measure_accuracy(
    floats: Model,
    samples: Samples,
    settings: Settings,
    statistics: Statistics | None = None,
    metric: str | None = None,
    max_drop: float | None = None,
    progress: Progress | None = None,
) -> tuple[Model, Accuracy]:
    """The model, quantised, and what that costs; layers stay in floats where `max_drop` asks for it.

    Those that `spared_layers` names do so in any case.
    Of the layers in the order of what they cost the outputs, the first 1, 2, 4, … go back until the drop is small
    enough, then as few as a bisection between the last two numbers finds. Where weights are limited, the same is done
    before with layers that get the whole range. The one returned has been scored itself.

    Args:
        floats: from `float_model`.
        samples: what is scored; the layers are compared on `LAYER_SAMPLES` of them.
        settings, statistics: as of `quantize_model`.
        metric: as of `find_metric`.
        max_drop: how much the score may fall; None for anything.

    Raises:
        UserError: as `find_metric`, or a model that cannot be compiled.
    """
    model = quantize_model(floats, settings, statistics)
    compared = samples.take(LAYER_SAMPLES)
    layers = measure_layers(floats, model, compared, settings.cache)
    if progress:
        progress(f"compared {len(layers)} layers with the float model's on {len(compared)} samples")
    spared = spared_layers(layers, costs_of(floats.proto))
    if spared:
        settings = replace(settings, keep=settings.keep.union(spared))
        if progress:
            progress(f"{len(spared)} small layers stay in float, which make most of the noise")
    order = [layer.name for layer in layers if layer.name not in spared]
    with Runner(floats.proto, cache=settings.cache) as run:
        scorer = find_metric(metric, samples, run, floats)
        best = scorer.score(run)
        graph, digits = Graph(floats.proto.graph), _digits(max_drop)
        limited, _ = limited_layers(graph, settings, statistics)
        trial = _Trial(floats, settings, statistics, scorer, order, digits, progress)
        first = trial.score(0)
        count, trials = 0, 0
        least = -math.inf if max_drop is None else best - max_drop - _ROUNDING
        if first < least and limited:
            names = [name for name in order if name in limited]
            ranged = _Trial(floats, settings, statistics, scorer, names, digits, progress, True)
            changed = _fewest(ranged, least)
            settings = ranged.settings(changed)
            trial = _Trial(floats, settings, statistics, scorer, order, digits, progress)
            trial.scores[0], trials = ranged.score(changed), len(ranged.scores)
        if trial.score(0) < least:
            count = _fewest(trial, least)
    kept = tuple(trial.order[:count])
    limited, whole = limited_layers(graph, trial.settings(count), statistics)
    share = share_of_macs((*spared, *kept), macs_of(floats.proto))
    accuracy = Accuracy(
        scorer.name,
        scorer.against,
        len(samples),
        best,
        trial.score(count),
        None if max_drop is None else first,
        max_drop,
        kept,
        spared,
        share,
        len(trial.scores) + trials,
        tuple(layers),
        tuple(limited),
        tuple(whole),
    )
    return trial.model(count), accuracy


class _Trial:
    """Scores of the model with the first layers of an order in floats, or with the whole range for their weights."""

    def __init__(
        self,
        floats: Model,
        settings: Settings,
        statistics: Statistics | None,
        metric: Metric,
        order: Sequence[str],
        digits: int,
        progress: Progress | None,
        whole_range: bool = False,
    ) -> None:
        self._whole_range = whole_range
        self.order, self.scores = order, dict[int, float]()
        self._floats, self._settings, self._statistics = floats, settings, statistics
        self._metric, self._digits, self._progress = metric, digits, progress

    def settings(self, count: int) -> Settings:
        names = frozenset(self.order[:count])
        if self._whole_range:
            return replace(self._settings, whole_range=self._settings.whole_range | names)
        return replace(self._settings, keep=self._settings.keep | names)

    def model(self, count: int) -> Model:
        return in_short_steps(quantize_model(self._floats, self.settings(count), self._statistics))

    def score(self, count: int) -> float:
        if count not in self.scores:
            with Runner(self.model(count).proto, cache=self._settings.cache) as run:
                self.scores[count] = self._metric.score(run)
            if self._progress:
                how = "with weights of the whole range" if self._whole_range else "returned to float"
                changed = f" with {count} layers {how}" if count else ""
                self._progress(f"scored {self.scores[count]:.{self._digits}f}{changed}")
        return self.scores[count]


def _digits(max_drop: float | None) -> int:
    """Four, or as many as tell a smaller bound from nothing."""
    return max(4, 1 + math.ceil(-math.log10(max_drop))) if max_drop else 4


def _fewest(trial: _Trial, least: float) -> int:
    """How many layers must be changed for a score of `least`; all if no smaller number does."""
    total = len(trial.order)
    low, high = 0, 1  # low is too few
    while high < total and trial.score(high) < least:
        low, high = high, 2 * high
    high = min(high, total)
    while high - low > 1:
        middle = (low + high) // 2
        if trial.score(middle) < least:
            low = middle
        else:
            high = middle
    return high
