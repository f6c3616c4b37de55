"""Measures the time of each kernel of an artifact, and how near it comes to what the machine can do."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.loader import LoadError, Model
from ..verify.vectors import inputs_of
from .rates import Rates

COPY = "copy"  # stands for the steps that only copy
FLOW = "control flow"  # for those that run programs inside, kernels and all
_LEAST_RUNS = 5


@dataclass(frozen=True)
class KernelTime:
    """One kernel's calls in a run.

    Attributes:
        seconds: for all of its calls together, each being the median over the runs.
        share: of the time of all kernels.
        flops: operations of all its calls; None where the manifest does not say.
        moved: bytes that its calls read and write, each tensor once; None as above.
        roof: share of the speed that the rates allow; None without them or without the above.
    """

    kernel: str
    rule: str
    calls: int
    seconds: float
    share: float
    flops: float | None
    moved: float | None
    roof: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def profile(
    path: Path,
    threads: int | None = None,
    seconds: float = 2.0,
    rates: Rates | None = None,
    affinity: str | None = None,
) -> list[KernelTime]:
    """Runs the artifact on seeded inputs for about `seconds`; the kernels, the one that takes longest first.

    Reading the clock adds some 20 ns to each call.

    Args:
        threads, affinity: as of the loader's Model.
        rates: the machine's limits, to compare with.

    Raises:
        ValueError: a bad number of threads, or a bad affinity.
        LoadError: the artifact does not run here, or was made by an edgec that did not prepare it for this.
    """
    with Model(path, threads, affinity) as model:
        if "steps" not in model.manifest:
            raise LoadError(f"{path} was made by an older edgec, which could not measure kernels: compile it again")
        inputs = inputs_of(model.manifest)
        took = np.zeros(len(model.manifest["steps"]), np.uint64)
        outputs = model.run(inputs)
        runs: list[np.ndarray[Any, Any]] = []
        end = time.perf_counter() + seconds
        while len(runs) < _LEAST_RUNS or time.perf_counter() < end:
            model.run(inputs, outputs, took)
            runs.append(took.copy())
        return summarize(model.manifest, np.median(runs, axis=0) * 1e-9, rates)


def summarize(manifest: dict[str, Any], steps: np.ndarray[Any, Any], rates: Rates | None) -> list[KernelTime]:
    """The kernels behind the manifest's steps, which took `steps` seconds."""
    total = float(steps.sum()) or 1.0
    # -1 is the last
    kernels = [*manifest["kernels"], {"name": FLOW, "rule": "-"}, {"name": COPY, "rule": "-"}]
    order = np.array(manifest["steps"], int)
    found = []
    for index in sorted(set(manifest["steps"]), key=lambda index: -float(steps[order == index].sum())):
        spent, calls, kernel = float(steps[order == index].sum()), int((order == index).sum()), kernels[index]
        flops, moved = kernel.get("flops"), kernel.get("bytes")
        roof = None
        if rates is not None and flops is not None and moved is not None and spent > 0:
            roof = calls * rates.seconds(flops, moved) / spent
        whole = [None if each is None else float(each) * calls for each in (flops, moved)]
        found.append(KernelTime(kernel["name"], kernel["rule"], calls, spent, spent / total, whole[0], whole[1], roof))
    return found
