"""Times a model's artifact and its peers in turns, in one process, after their results were found to agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compiler import UserError, compile_model
from compiler.frontend.convert import dtype_name
from compiler.frontend.prepare import Tensor
from compiler.report.profile import profile
from compiler.report.rates import Rates
from compiler.runtime.loader import Model
from compiler.verify.compare import compare
from compiler.verify.vectors import seeded_inputs

from .runtimes import Case, Refused, load

OURS = "edgec"
Shapes = Mapping[str, tuple[int, ...]]
Row = dict[str, Any]

# Seconds of one's turn, and of rest before it, in which the others' threads stop spinning.
_TURN, _PAUSE = 0.1, 0.03
_LEAST_RUNS = 7
_LONGEST = 4.0  # times the seconds asked for; a slow peer then has fewer runs than the least


@dataclass(frozen=True)
class Plan:
    """What to measure of each model.

    Attributes:
        peers: names of runtimes.PEERS.
        seconds: for each runtime and thread count.
        rates: limits of the machine by thread count; with them the artifact's kernels are measured too.
        rows: sizes for inputs' first axes where the model leaves them open, all with one artifact; none: a batch of
            one, compiled for it.
    """

    threads: tuple[int, ...]
    peers: tuple[str, ...]
    seconds: float
    rates: Mapping[int, Rates] | None = None
    rows: tuple[int, ...] = ()


@dataclass
class Samples:
    """What was measured of one runtime.

    Attributes:
        seconds: of each run.
        processor: seconds that a run kept processors busy, all threads together; the mean of each turn.
        cores: how many were busy during each turn.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """For JSON; times in seconds. `processor` is the least of a turn: with one thread what a run would take on a
        machine that nobody else uses."""
        low, median, high = (float(v) for v in np.percentile(self.seconds, (25, 50, 75)))
        return {
            "min": min(self.seconds), "p25": low, "median": median, "p75": high, "processor": min(self.processor),
            "cores": round(max(self.cores), 2), "runs": len(self.seconds),
        }  # fmt: skip


def fix_model(proto: onnx.ModelProto, shapes: Shapes, open_rows: bool = False) -> onnx.ModelProto:
    """The model that everyone is given: inputs of static shape, weights that are constants.

    Weights listed among the inputs, as old exporters do, could be replaced in each run, which keeps a runtime from
    folding them.

    Args:
        shapes: by input, for those with dynamic axes; a first axis that is not given is a batch of one.
        open_rows: such a first axis stays open.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    weights = {tensor.name for tensor in fixed.graph.initializer}
    inputs = [value for value in fixed.graph.input if value.name not in weights]
    if len(inputs) < len(fixed.graph.input):
        del fixed.graph.input[:]
        fixed.graph.input.extend(inputs)
        fixed.ir_version = max(fixed.ir_version, 4)  # the first that allows it
    for value in fixed.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in shapes:
            for dim, size in zip(dims, shapes[value.name], strict=True):
                dim.dim_value = size
        elif dims and not dims[0].HasField("dim_value") and not open_rows:
            dims[0].dim_value = 1
    return fixed


def take_turns(
    runs: Mapping[str, Callable[[], object]], seconds: float, turn: float = _TURN, pause: float = _PAUSE
) -> dict[str, Samples]:
    """Runs all in turns of `turn` seconds, for about `seconds` of each, and until each has a few runs."""
    samples = {name: Samples() for name in runs}
    start, whole, enough = time.perf_counter(), seconds * len(runs), False
    while not enough:
        for name, run in runs.items():
            time.sleep(pause)
            run()  # not counted: another one had the caches
            _take_turn(run, turn, samples[name])
        few = any(len(taken.seconds) < _LEAST_RUNS for taken in samples.values())
        enough = time.perf_counter() - start >= (_LONGEST * whole if few else whole)
    return samples


def _take_turn(run: Callable[[], object], turn: float, samples: Samples) -> None:
    begun = len(samples.seconds)
    start, busy = time.perf_counter(), time.process_time()
    before = start
    while True:
        run()
        now = time.perf_counter()
        samples.seconds.append(now - before)
        if now - start >= turn:
            break
        before = now
    busy = time.process_time() - busy
    samples.processor.append(busy / (len(samples.seconds) - begun))
    samples.cores.append(busy / (now - start))


def disagreement(names: Sequence[str], ours: Sequence[Any], theirs: Sequence[Any]) -> str | None:
    """What is wrong with a peer's results, ours being the reference; None if they agree.

    Integers may be of another width: not every runtime has all.
    """
    if len(theirs) != len(ours):
        return f"{len(theirs)} results, not {len(ours)}"
    reference = {name: np.asarray(array) for name, array in zip(names, ours, strict=True)}
    results = {name: np.asarray(array) for name, array in zip(names, theirs, strict=True)}
    for name, expected in reference.items():
        if {expected.dtype.kind, results[name].dtype.kind} <= set("iub"):
            results[name] = results[name].astype(expected.dtype)
    wrong = [str(difference) for difference in compare(results, reference) if not difference]
    return "; ".join(wrong) or None


def bench_model(path: Path, shapes: Shapes, plan: Plan, folder: Path) -> list[Row]:
    """One row a number of rows and of threads: `results` holds by name either a summary of times, or `reason` why
    there is none; `bytes` of the model's file and of the artifact.

    Args:
        folder: a private one.

    Raises:
        UserError: the model cannot be compiled, or computes something else than the reference.
    """
    fixed = folder / "fixed.onnx"
    proto = fix_model(onnx.load(path), shapes, bool(plan.rows))
    onnx.save(proto, fixed)
    artifact = compile_model(fixed, "host", folder / "model.so")
    if artifact.verified != "passed":
        raise UserError(f"verification {artifact.verified}: {artifact.manifest['verification'].get('reason')}")
    sizes = {"model": path.stat().st_size, OURS: artifact.size}
    rows: list[Row] = []
    for size in plan.rows or (None,):
        inputs = seeded_inputs(input_tensors(proto, size))
        title = path.stem if size is None else f"{path.stem}, {size:,} {'row' if size == 1 else 'rows'}"
        for count in plan.threads:
            private = folder / f"{size}-{count}"
            private.mkdir()
            case = Case(fixed, inputs, {}, count, private)
            rows.append(
                {"model": title, "threads": count, "bytes": sizes, "results": _measure(case, artifact.path, plan)}
            )
            if size is not None:
                rows[-1]["rows"] = size
            if plan.rates:
                kernels = profile(artifact.path, count, plan.seconds, plan.rates[count])
                rows[-1]["kernels"] = [kernel.to_dict() for kernel in kernels]
    return rows


def input_tensors(fixed: onnx.ModelProto, rows: int | None) -> list[Tensor]:
    """The inputs of a fixed model, whose open axes have a size."""
    tensors = []
    for value in fixed.graph.input:
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else int(rows or 0) for dim in kind.shape.dim)
        tensors.append(Tensor(value.name, dtype_name(kind.elem_type), shape))
    return tensors


def _measure(case: Case, artifact: Path, plan: Plan) -> dict[str, Any]:
    results: dict[str, Any] = {}
    with Model(artifact, threads=case.threads) as model:
        runs: dict[str, Callable[[], object]] = {OURS: lambda: model.run(case.inputs)}
        ours = model.run(case.inputs)
        shapes = {name: array.shape for name, array in ours.items()}
        for name in plan.peers:
            private = case.folder / name
            private.mkdir()
            try:
                run = load(name, replace(case, outputs=shapes, folder=private))
                wrong = disagreement(list(ours), list(ours.values()), run())
            except Refused as refused:
                wrong = str(refused)
            if wrong is None:
                runs[name] = run
            else:
                results[name] = {"reason": wrong}
        measured = take_turns(runs, plan.seconds)
    return {name: samples.summary() for name, samples in measured.items()} | results
