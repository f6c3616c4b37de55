"""Keeps a quantised model's loss within a bound: layers go back to floats, those that cost most first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..frontend.prepare import Model
from .data import Samples
from .insert import quantize_model
from .layers import Layer, macs_of, measure_layers, share_of_macs
from .metrics import Metric, find_metric
from .ranges import Statistics
from .runner import Runner
from .settings import Settings

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
        without_control: the score with no layer in floats but those that the settings name; None if no drop was given.
        max_drop: the bound on the difference, None for none.
        kept: layers that are in floats again for it.
        kept_macs: their share of the model's multiplications.
        trials: how many quantised models were compiled and scored.
        layers: before any went back, the one that costs the outputs most first.
    """

    metric: str
    against: str
    samples: int
    float_score: float
    score: float
    without_control: float | None
    max_drop: float | None
    kept: tuple[str, ...]
    kept_macs: float
    trials: int
    layers: tuple[Layer, ...]

    @property
    def drop(self) -> float:
        return self.float_score - self.score

    @property
    def reached(self) -> bool:
        """Whether the drop is within the bound, and products are left that are quantised, if there were any."""
        if self.max_drop is None:
            return True
        costs = {layer.name: layer.macs or not self._has_products for layer in self.layers}
        left = not self.kept or any(cost for name, cost in costs.items() if name not in self.kept)
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
            "layers_in_float": list(self.kept),
            "macs_in_float": round(self.kept_macs, 4),
            "trials": self.trials,
            "layers": [layer.to_dict() for layer in self.layers[:most_layers]],
            "layers_quantised": len(self.layers) - len(self.kept),
        }


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

    Of the layers in the order of what they cost the outputs, the first 1, 2, 4, … go back until the drop is small
    enough, then as few as a bisection between the last two numbers finds. The one returned has been scored itself.

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
    with Runner(floats.proto, cache=settings.cache) as run:
        scorer = find_metric(metric, samples, run, floats)
        best = scorer.score(run)
        trial = _Trial(floats, settings, statistics, scorer, [layer.name for layer in layers], progress)
        first = trial.score(0)
        count = 0
        if max_drop is not None and best - first > max_drop + _ROUNDING:
            count = _fewest(trial, best - max_drop - _ROUNDING)
    kept = tuple(trial.order[:count])
    share = share_of_macs(kept, macs_of(floats.proto))
    accuracy = Accuracy(
        scorer.name,
        scorer.against,
        len(samples),
        best,
        trial.score(count),
        None if max_drop is None else first,
        max_drop,
        kept,
        share,
        len(trial.scores),
        tuple(layers),
    )
    return trial.model(count), accuracy


class _Trial:
    """Scores of the model with the first layers of an order in floats."""

    def __init__(
        self,
        floats: Model,
        settings: Settings,
        statistics: Statistics | None,
        metric: Metric,
        order: Sequence[str],
        progress: Progress | None,
    ) -> None:
        self.order, self.scores = order, dict[int, float]()
        self._floats, self._settings, self._statistics = floats, settings, statistics
        self._metric, self._progress = metric, progress

    def model(self, count: int) -> Model:
        settings = replace(self._settings, keep=self._settings.keep | frozenset(self.order[:count]))
        return quantize_model(self._floats, settings, self._statistics)

    def score(self, count: int) -> float:
        if count not in self.scores:
            with Runner(self.model(count).proto, cache=self._settings.cache) as run:
                self.scores[count] = self._metric.score(run)
            if self._progress:
                floats = f" with {count} layers returned to float" if count else ""
                self._progress(f"scored {self.scores[count]:.4f}{floats}")
        return self.scores[count]


def _fewest(trial: _Trial, least: float) -> int:
    """How many layers must be in floats for a score of `least`; all if no smaller number does."""
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
