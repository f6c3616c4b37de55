"""Post-training quantisation from one end to the other: a model and sample data in, a quantised model that knows what
that cost out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import UserError
from ..frontend.prepare import Model
from .control import Accuracy, Progress, measure_accuracy
from .data import Samples, Source, load_calibration
from .floats import float_model
from .insert import quantize_model
from .observe import observe
from .settings import Settings

if TYPE_CHECKING:
    from ..pipeline import Options

WARN = 0.02  # of the score lost, where no bound was given
WORST = 5  # layers that an artifact tells of


@dataclass(frozen=True)
class Quantised:
    """What came of a quantisation.

    Attributes:
        model: with QuantizeLinear and DequantizeLinear; its hash is still the given file's.
        floats: the model before, in the same form.
        samples, accuracy: None without sample data, which only `int8` needs.
        inputs: least and greatest value of the inputs in the sample data, by name, where ranges were taken from them.
    """

    model: Model
    floats: Model
    samples: Samples | None
    accuracy: Accuracy | None
    inputs: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def compiled(self, options: Options) -> tuple[Model, Options]:
        """What to compile, and how: with what the quantisation cost, for the manifest.

        Raises:
            UserError: more was lost than was allowed.
        """
        found = self.accuracy
        if found is not None and not found.reached:
            what = f"{found.metric} falls by more than {found.max_drop}, whichever layers stay in float"
            raise UserError(what, self.model.name, "allow more with max_drop, or give more calibration data")
        facts = None if found is None else {**found.to_dict(WORST), "inputs": self.inputs}
        return self.model, replace(options, shapes={}, accuracy=facts)

    @property
    def warning(self) -> str | None:
        """What a user must be told who set no bound."""
        found = self.accuracy
        if found is None or found.max_drop is not None or not found.drop > WARN:
            return None
        return (
            f"quantisation lost {found.drop:.4f} of {found.metric} ({found.float_score:.4f} to {found.score:.4f}): "
            "--max-drop returns the layers that lose most to float"
        )


def quantize(
    model: Model,
    shapes: Mapping[str, Sequence[int]],
    settings: Settings,
    data: Source | None,
    metric: str | None = None,
    max_drop: float | None = None,
    progress: Progress | None = None,
) -> Quantised:
    """Quantises a model, measures what that costs, and keeps it within a bound.

    Args:
        shapes: of its inputs that are dynamic.
        data: as of `load_calibration`; what they hold of labels and boxes is what metrics compare with.
        metric, max_drop, progress: as of `measure_accuracy`.

    Raises:
        UserError: data are needed and missing or do not fit, or nothing can be quantised.
    """
    floats = float_model(model, shapes)
    if data is None:
        if settings.precision == "int8" or max_drop is not None or metric is not None:
            what = "sample data are missing, which show where the model's values lie and what it loses"
            raise UserError(what, model.name, "give them with --calibration, or use --precision int8-dynamic")
        return Quantised(_as_given(quantize_model(floats, settings), model), floats, None, None)
    samples = load_calibration(data, floats)
    statistics = observe(floats, samples, cache=settings.cache) if settings.precision == "int8" else None
    if progress and statistics:
        progress(f"observed {len(statistics.histograms)} tensors on {statistics.samples} samples")
    made, accuracy = measure_accuracy(floats, samples, settings, statistics, metric, max_drop, progress)
    known = statistics.histograms if statistics else {}
    inputs = {v.name: (known[v.name].low, known[v.name].high) for v in floats.proto.graph.input if v.name in known}
    return Quantised(_as_given(made, model), floats, samples, accuracy, inputs)


def _as_given(made: Model, model: Model) -> Model:
    """With the name and hash of the file that the user gave, which the proto is not."""
    return replace(made, name=model.name, sha256=model.sha256, path=None)
