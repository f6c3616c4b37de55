"""Two artifacts of one model, run in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.loader import Model
from ..verify.vectors import inputs_of

_SECONDS, _LEAST_TURNS = 6.0, 15
_RUNS = (
    3  # of a turn, the fastest of which counts: the first one brings the artifact's code and weights into the caches
)


@dataclass(frozen=True)
class Comparison:
    """How fast two artifacts are.

    Attributes:
        medians: seconds of each one's turns.
        ratio: of the second's time to the first's in the same turn, the median.
        kernels: that ratio by kernel, of those that both have, from runs whose steps were timed.
    """

    medians: tuple[float, float]
    ratio: float
    kernels: Mapping[str, float]


def compare(first: Path, second: Path, threads: int) -> Comparison:
    """Runs both on seeded inputs for some seconds."""
    with Model(first, threads) as one, Model(second, threads) as two:
        inputs = inputs_of(one.manifest)
        sides = [_Side(one, inputs), _Side(two, inputs)]
        end = time.perf_counter() + _SECONDS
        while len(sides[0].whole) < _LEAST_TURNS or time.perf_counter() < end:
            for side in sides if len(sides[0].whole) % 2 else sides[::-1]:
                side.turn()
        times = np.array([side.whole for side in sides])
        before, after = (side.by_kernel() for side in sides)
    kernels = {name: float(np.median(after[name] / np.maximum(before[name], 1))) for name in before if name in after}
    medians = (float(np.median(times[0])), float(np.median(times[1])))
    return Comparison(medians, float(np.median(times[1] / times[0])), kernels)


class _Side:
    def __init__(self, model: Model, inputs: Mapping[str, Any]) -> None:
        self.model, self.inputs = model, inputs
        self.outputs = model.run(inputs)
        self.took = np.zeros(len(model.manifest["steps"]), np.uint64)
        self.whole: list[float] = []
        self.steps: list[np.ndarray[Any, Any]] = []

    def turn(self) -> None:
        """Runs that are timed as a whole, and as many whose steps are."""
        times = []
        for _ in range(_RUNS):
            begin = time.perf_counter()
            self.model.run(self.inputs, self.outputs)
            times.append(time.perf_counter() - begin)
        self.whole.append(min(times))
        best = np.full(len(self.took), np.inf)
        for _ in range(_RUNS):
            self.model.run(self.inputs, self.outputs, self.took)
            np.minimum(best, self.took, out=best)
        self.steps.append(best)

    def by_kernel(self) -> dict[str, np.ndarray[Any, Any]]:
        """Nanoseconds of each kernel in each turn."""
        order: Sequence[int] = self.model.manifest["steps"]
        table, places = np.array(self.steps), np.array(order)
        kernels = self.model.manifest["kernels"]
        return {kernel["name"]: table[:, places == place].sum(axis=1) for place, kernel in enumerate(kernels)}
