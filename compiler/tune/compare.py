"""Two lowerings of one model, run in turns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..build.cache import Cache
from .fleet import Fleet
from .subject import Subject
from .trials import Settings, time_subjects

_ROUNDS, _SECONDS = 100, 8.0
_SIGNIFICANT = 2.5  # standard errors


@dataclass(frozen=True)
class Comparison:
    """How fast two lowerings are.

    Attributes:
        medians: seconds of a run of each.
        ratio: of the second's time to the first's in the same round, the median; infinite if one of them crashes.
        kernels: that ratio by workload, of those that both have.
        error: what the ratio may be wrong by.
    """

    medians: tuple[float, float]
    ratio: float
    kernels: Mapping[str, float]
    error: float = 0.0

    @property
    def faster(self) -> bool:
        """Whether the second one is, beyond the noise."""
        return self.ratio < 1.0 - self.error


def compare(first: Subject, second: Subject, settings: Settings, fleet: Fleet, cache: Cache | None) -> Comparison:
    """Measures both where trials are measured.

    Raises:
        LostError: no board is left.
    """
    times = time_subjects([first, second], replace(settings, rounds=_ROUNDS, seconds=_SECONDS), fleet, cache)
    if times is None:
        return Comparison((math.nan, math.nan), math.inf, {})
    before, after = (time.seconds.sum(axis=1) for time in times)
    steps = [{workload.key: workload.steps for workload in subject.workloads} for subject in (first, second)]
    kernels = {
        key: float(np.median(times[1].of(steps[1][key]) / np.maximum(times[0].of(places), 1e-9)))
        for key, places in steps[0].items()
        if key in steps[1]
    }
    medians = float(np.median(before)), float(np.median(after))
    low, ratio, high = np.percentile(after / before, (25, 50, 75))
    error = _SIGNIFICANT * (high - low) / 2 / len(before) ** 0.5
    return Comparison(medians, float(ratio), kernels, float(error))
