"""Tunes a model: from its kernels to verdicts that later compilations follow."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..build.cache import Cache
from ..errors import UserError
from ..frontend.prepare import Model
from ..pipeline import Clock, Options, compile_with, lower_model
from ..runtime.loader import Model as Loaded
from ..target import Target
from ..verify.vectors import inputs_of
from .features import describe
from .fleet import Fleet
from .kernel import KernelSearch
from .records import Log, Record
from .search import Progress, Searcher, roof_of
from .space import space_of
from .trials import Settings, now
from .workloads import workloads_of

_SHARE_OF_SEARCH = 0.8  # of the budget; the rest confirms, and measures the whole model
_SECONDS_OF_A_RUN = 0.02  # a model is run as often as fits in _COMPARED seconds, at least _LEAST_RUNS times
_COMPARED, _LEAST_RUNS = 6.0, 15
_MOST_SCRUB = 64 << 20
_LEAST_SCRUB = 4 << 10


@dataclass(frozen=True)
class Result:
    """What came of tuning a model.

    Attributes:
        untuned, tuned: medians of seconds of the whole model, measured in turns.
        ratio: median of the tuned by the untuned time of the same turn.
        verdicts: the schedules that are applied from now on, by workload.
        names: of the kernels, by workload.
        curve: the search's progress.
        applied: whether the whole model is faster, and the verdicts are in the log.
    """

    untuned: float
    tuned: float
    ratio: float
    verdicts: Mapping[str, Record]
    names: Mapping[str, Sequence[str]]
    curve: Sequence[Progress]
    trials: int
    applied: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        kernels = [
            {
                "kernel": self.names[key][0],
                "schedule": record.decision.text if record.decision else "",
                "ratio": record.ratio,
            }
            for key, record in self.verdicts.items()
        ]
        return {
            "untuned": self.untuned,
            "tuned": self.tuned,
            "ratio": self.ratio,
            "applied": self.applied,
            "trials": self.trials,
            "kernels": kernels,
            "curve": [asdict(progress) for progress in self.curve],
        }


def tune(
    model: Model,
    options: Options,
    fleet: Fleet,
    log: Log,
    budget: float,
    report: Callable[[Progress], None] = lambda progress: None,
    cache: Cache | None = None,
) -> Result:
    """Tunes a model for the options' target within `budget` seconds.

    Raises:
        UserError: the model cannot be compiled, or the budget is too small to measure anything.
    """
    begin = time.perf_counter()
    lowered = lower_model(model, options)
    versions = lowered.versions
    known = log.read()
    own = [r for r in known if r.fingerprint == options.target.fingerprint and r.kind == "trial"]
    others = [r for r in known if r.fingerprint != options.target.fingerprint and r.kind == "trial"]
    searches = []
    settings = Settings(options.target, _scrub(versions, options.target))
    for workload in workloads_of(versions, lowered.programs):
        space = space_of(workload.program, options.target)
        if space is None or not space.decisions or any(a.nbytes == 0 for a in workload.arguments):
            continue
        work = describe(workload.program, workload.cost, space.default.rule)
        records = [r for r in own if r.workload == workload.key and r.threads == fleet.threads]
        search = KernelSearch(workload, work, space, records=records)
        search.roof = roof_of(search, settings, fleet.threads)
        searches.append(search)
    mine = {search.workload.key for search in searches}
    others += [r for r in own if r.workload not in mine]
    deadline = begin + budget * _SHARE_OF_SEARCH
    searcher = Searcher(searches, settings, fleet, log, cache, begin, deadline, others, report)
    searcher.measure_defaults()
    spent = time.perf_counter() - begin
    if spent > budget * _SHARE_OF_SEARCH and not any(search.records for search in searches):
        raise UserError(
            f"the budget of {budget:.0f} seconds is too small: to measure the untuned kernels alone takes {spent:.0f}",
            "--budget",
            f"give at least {2 * spent / 60 + 1:.0f}m",
        )
    with contextlib.suppress(KeyboardInterrupt):  # what is measured is confirmed as if the time were over
        searcher.run()
    winners = searcher.confirm()
    names = {search.workload.key: search.workload.names for search in searches}
    return _decide(model, options, fleet, log, winners, names, searcher)


def _scrub(versions: Sequence[Any], target: Target) -> int:
    """Bytes that a run of the model touches, up to twice the caches."""
    weights = sum(array.nbytes for array in versions[0].program.constants)
    touched = weights + max(version.plan.arena_bytes for version in versions)
    caches = 1024 * (target.caches.l3_kib or target.caches.l2_kib)
    return int(max(_LEAST_SCRUB, min(touched, 2 * caches, _MOST_SCRUB))) // 64 * 64


def _decide(
    model: Model,
    options: Options,
    fleet: Fleet,
    log: Log,
    winners: Mapping[str, Record],
    names: Mapping[str, Sequence[str]],
    searcher: Searcher,
) -> Result:
    """Keeps of the winners those that the whole model runs faster with."""
    with tempfile.TemporaryDirectory(prefix="edgec-tuned-") as name:
        folder = Path(name)
        untuned = _compile(model, options, folder / "untuned.so", {})
        kept = dict(winners)
        medians, ratio = (0.0, 0.0), 1.0
        for attempt in range(3):
            tuned = _compile(model, options, folder / f"tuned{attempt}.so", kept)
            compared = compare(untuned, tuned, fleet.threads)
            medians, ratio = compared.medians, compared.ratio
            worse = {key for key in kept if _ratio_of(compared, names[key]) > 1.0}
            if not worse:
                break
            kept = {key: record for key, record in kept.items() if key not in worse}
    applied = bool(kept) and ratio < 1.0
    if applied:
        log.append([_verdict(record) for record in kept.values()])
    return Result(*medians, ratio, kept if applied else {}, names, searcher.curve, searcher.trials, applied)


def _ratio_of(compared: Comparison, names: Sequence[str]) -> float:
    """Of a kernel's time, which the artifacts know by one of these names."""
    return next((compared.kernels[name] for name in names if name in compared.kernels), 1.0)


def _verdict(record: Record) -> Record:
    return replace(record, kind="verdict", date=now())


def _compile(model: Model, options: Options, out: Path, verdicts: Mapping[str, Record]) -> Path:
    decisions = {key: record.decision for key, record in verdicts.items() if record.decision is not None}
    compile_with(model, replace(options, out=out, verify=False, dump=None, decisions=decisions), Clock())
    return out


@dataclass(frozen=True)
class Comparison:
    """Two artifacts of a model in turns.

    Attributes:
        medians: seconds of a run of each.
        ratio: of the second's time to the first's in the same turn, the median.
        kernels: that ratio by kernel, from separate runs whose steps were timed.
    """

    medians: tuple[float, float]
    ratio: float
    kernels: Mapping[str, float]


def compare(first: Path, second: Path, threads: int) -> Comparison:
    """Runs two artifacts of one model in turns."""
    with Loaded(first, threads) as one, Loaded(second, threads) as two:
        inputs = inputs_of(one.manifest)
        both = []
        for loaded in (one, two):
            outputs = loaded.run(inputs)
            both.append((loaded, outputs, np.zeros(len(loaded.manifest["steps"]), np.uint64)))
        whole: list[list[float]] = []
        steps: list[list[np.ndarray[Any, Any]]] = []
        end = time.perf_counter() + _COMPARED
        while len(whole) < _LEAST_RUNS or time.perf_counter() < end:
            turn, parts = [], []
            for loaded, outputs, took in both if len(whole) % 2 else reversed(both):
                begin = time.perf_counter()
                loaded.run(inputs, outputs)
                turn.append(time.perf_counter() - begin)
                loaded.run(inputs, outputs, took)
                parts.append(took.astype(np.float64))
            ordered = len(whole) % 2 == 1
            whole.append(turn if ordered else turn[::-1])
            steps.append(parts if ordered else parts[::-1])
        times = np.array(whole)
        kernels = {}
        sums = [_by_kernel(both[side][0].manifest, [parts[side] for parts in steps]) for side in (0, 1)]
        for name, before in sums[0].items():
            if name in sums[1]:
                kernels[name] = float(np.median(sums[1][name] / np.maximum(before, 1.0)))
    medians = (float(np.median(times[:, 0])), float(np.median(times[:, 1])))
    return Comparison(medians, float(np.median(times[:, 1] / times[:, 0])), kernels)


def _by_kernel(manifest: Mapping[str, Any], runs: Sequence[np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Nanoseconds of each kernel in each run."""
    order, table = np.array(manifest["steps"], int), np.array(runs)
    return {kernel["name"]: table[:, order == place].sum(axis=1) for place, kernel in enumerate(manifest["kernels"])}
