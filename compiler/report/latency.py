"""Measures the latency of an artifact in this process, through the loader that devices use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.loader import Model
from ..verify.vectors import inputs_of

_LEAST_RUNS = 5


@dataclass(frozen=True)
class Latency:
    """One measurement; times in seconds.

    Attributes:
        rows: of each run; None if the artifact does not take any number of them.
        load: from the file to a model that can run.
        first: the first run, which maps the weights and starts the threads.
        median, p05, p95: of the runs after it.
    """

    threads: int
    runs: int
    rows: int | None
    load: float
    first: float
    median: float
    p05: float
    p95: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the keys of times end in `_seconds`."""
        times = {"load", "first", "median", "p05", "p95"}
        return {f"{key}_seconds" if key in times else key: value for key, value in asdict(self).items()}


def measure(
    path: Path,
    threads: int | None = None,
    seconds: float = 2.0,
    affinity: str | None = None,
    rows: int | None = None,
) -> Latency:
    """Runs the artifact on seeded inputs for about `seconds`, at least five times after a warm-up.

    Args:
        threads, affinity: as of the loader's Model.
        rows: as of `inputs_of`.

    Raises:
        LoadError: the artifact does not run here.
        ValueError: a bad number of threads or rows, or a bad affinity.
    """
    start = time.perf_counter()
    with Model(path, threads, affinity) as model:
        load = time.perf_counter() - start
        inputs = inputs_of(model.manifest, rows)
        count = len(next(iter(inputs.values()))) if model.manifest.get("rows") else None
        outputs: Mapping[str, np.ndarray[Any, Any]] = {}
        start = time.perf_counter()
        outputs = model.run(inputs)
        first = time.perf_counter() - start
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while len(samples) < _LEAST_RUNS or time.perf_counter() < end:
            start = time.perf_counter()
            model.run(inputs, outputs)
            samples.append(time.perf_counter() - start)
        p05, median, p95 = (float(v) for v in np.percentile(samples, (5, 50, 95)))
        return Latency(model.threads, len(samples), count, load, first, median, p05, p95)
