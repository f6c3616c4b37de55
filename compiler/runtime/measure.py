"""Measures trials, artifacts with several versions of a program which run in turns, and two artifacts in turns.

A process of its own, since code that is measured may crash or never end: it reads requests from its input, a line of
JSON each, and answers each with one. When the input ends, so does the process, whatever it is doing, unless it
is a file. Needs NumPy and loader.py alone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, Iterator

import numpy as np

if TYPE_CHECKING or __package__:
    from .loader import LoadError, Model
else:  # as a file of its own, beside loader.py
    from loader import LoadError, Model

_SEED = 0
# Two artifacts are compared in several sittings, as a sitting's memory decides by up to a hundredth which is faster.
_SITTINGS, _LEAST_SITTINGS = 15, 5
_CHANCE = 0.04  # that sittings of two equal artifacts seem to agree, at most
_LEAST_TURNS, _MOST_TURNS = 3, 10000  # of a sitting
_RUNS_OF_A_TURN = 3  # the fastest counts: the first brings the artifact's code and weights into the caches
_PATIENCE = 5  # times as long as asked for, until there are so many turns or sittings
_MOST_COPIED = 16 << 20  # bytes of an artifact; others are in no cache near the core anyway
_SLOWEST, _LEAST_PATIENCE = 20.0, 5.0  # times the first version's time, and seconds, after which another one hangs
_RUNS = 2  # of a version in a round that count, after one that brings its own code and constants into the caches


def measure(path: str, threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Runs a trial until there are so many rounds, or the time is over.

    Returns:
        For each version `nanoseconds`, a list for each round with a number for each step, the smallest of its runs; and
        `differences`, for each output how far it is from the first version's: the largest difference by the largest
        value, for integers the share of elements that differ.
    """
    with Model(path, threads) as model:
        rng = np.random.default_rng(_SEED)
        *tensors, _ = model.inputs
        inputs = {tensor.name: _values(rng, tensor, 256) for tensor in tensors}
        versions = [_Version(model, inputs, shapes) for shapes in model.manifest["shapes"]]
        begin = time.perf_counter()
        first = versions[0].results()
        patience = max(_SLOWEST * (time.perf_counter() - begin), _LEAST_PATIENCE)
        differences = []
        for version in versions:
            with _ended_after(patience):
                differences.append(version.differences(first))
        end, done = time.perf_counter() + seconds, 0
        while done < rounds and (done < 1 or time.perf_counter() < end):
            done += 1
            for place in rng.permutation(len(versions)):
                versions[place].time()
    return {
        "versions": [
            {"nanoseconds": version.nanoseconds, "differences": difference}
            for version, difference in zip(versions, differences)
        ]
    }


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Ends this process if it takes so long: who asked need not wait as long as for a job that is only large."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Version:
    """One of a trial's versions; the last input's shape chooses it."""

    def __init__(self, model: Model, inputs: dict[str, Any], shapes: dict[str, Any]) -> None:
        self.model, chooses = model, np.zeros(shapes["inputs"][-1], np.uint8)
        self.inputs = {**inputs, model.inputs[-1].name: chooses}
        # What a kernel leaves as it is, as the padding around its result, is equal then.
        self.outputs = {tensor.name: np.zeros(tensor.shape, tensor.numpy_dtype) for tensor in model.outputs}
        self.took = np.zeros(len(shapes["steps"]), np.uint64)
        self.nanoseconds: list[list[int]] = []

    def results(self) -> dict[str, Any]:
        self.model.run(self.inputs, self.outputs)
        for slot in self.model._targets:  # of this version now: where kernels write if not to our outputs
            slot.stage()[...] = 0
        return self.model.run(self.inputs, self.outputs)

    def differences(self, first: dict[str, Any]) -> dict[str, float]:
        return {name: _difference(array, first[name]) for name, array in self.results().items()}

    def time(self) -> None:
        """A round."""
        self.model.run(self.inputs, self.outputs)
        best = np.full(len(self.took), np.iinfo(np.uint64).max)
        for _ in range(_RUNS):
            self.model.run(self.inputs, self.outputs, self.took)
            np.minimum(best, self.took, out=best)
        self.nanoseconds.append(best.tolist())


def compare(paths: list[str], threads: int, seconds: float) -> dict[str, Any]:
    """Compares two artifacts of one model for so long, or longer where that makes few turns.

    They run in turns, in several sittings, for each of which they are loaded anew, from copies, now the one and now the
    other first: where code, weights and tensors lie is another chance each time.

    Returns:
        `medians` of the seconds of each one's turns; `ratio` of the second's time to the first's, the median of the
        sittings' medians, and `noise`, what it may be wrong by;
        `kernels`, that ratio for each kernel that both have, by name.
    """
    begin = time.perf_counter()
    medians, ratios, kernels = [], [], []
    for number in range(_SITTINGS):
        if number >= _LEAST_SITTINGS and time.perf_counter() - begin > _PATIENCE * seconds:
            break
        turned = number % 2 == 1
        with _copies(paths[::-1] if turned else paths) as copies:
            times, by_kernel = _sit(copies, threads, seconds / _SITTINGS)
        if turned:
            times, by_kernel = times[::-1], {name: 1 / max(ratio, 1e-9) for name, ratio in by_kernel.items()}
        medians.append(np.median(times, axis=1))
        ratios.append(float(np.median(times[1] / np.maximum(times[0], 1e-9))))
        kernels.append(by_kernel)
    ratio = float(np.median(ratios))
    return {
        "medians": np.median(medians, axis=0).tolist(),
        "ratio": ratio,
        "noise": sorted(ratios)[-1 - _may_differ(len(ratios))] - ratio,
        "kernels": {name: float(np.median([sitting[name] for sitting in kernels])) for name in kernels[0]},
    }


def _may_differ(count: int) -> int:
    """Of so many sittings, those that may see the other artifact ahead: the sign test."""
    ways = [sum(math.comb(count, n) for n in range(few + 1)) for few in range(count)]
    return max((few for few in range(count) if ways[few] <= _CHANCE * 2**count), default=0)


@contextlib.contextmanager
def _copies(paths: list[str]) -> Iterator[list[str]]:
    """Copies in other memory, unless they are large."""
    if max(map(os.path.getsize, paths)) > _MOST_COPIED:
        yield paths
        return
    with tempfile.TemporaryDirectory(prefix="sitting-", dir=os.path.dirname(paths[0]) or ".") as folder:
        yield [shutil.copyfile(path, os.path.join(folder, f"{place}.so")) for place, path in enumerate(paths)]


def _sit(paths: list[str], threads: int, seconds: float) -> tuple[Any, dict[str, float]]:
    """Seconds of two artifacts' turns, [2, turns], and the ratio for each kernel that both have."""
    with Model(paths[0], threads) as one, Model(paths[1], threads) as two:
        rng = np.random.default_rng(_SEED)
        words = np.array([*one.manifest.get("strings", ()), "a word that no model knows"], object)
        inputs = {
            tensor.name: rng.choice(words, tensor.shape) if tensor.strings else _values(rng, tensor, 2)
            for tensor in one.inputs
        }
        sides = [_Side(one, inputs), _Side(two, inputs)]
        begin, turns = time.perf_counter(), 0
        while turns < _MOST_TURNS:
            spent = (time.perf_counter() - begin) / seconds
            if turns and spent > (1 if turns >= _LEAST_TURNS else _PATIENCE):
                break
            for side in sides if turns % 2 else sides[::-1]:
                side.turn()
            turns += 1
        times = np.array([side.whole() for side in sides])
        before, after = (side.by_kernel() for side in sides)
    ratios = {name: float(np.median(after[name] / np.maximum(before[name], 1))) for name in before if name in after}
    return times, ratios


class _Side:
    """One of two artifacts that are compared."""

    def __init__(self, model: Model, inputs: dict[str, Any]) -> None:
        self.model, self.inputs = model, inputs
        self.outputs = model.run(inputs)
        self.took = np.zeros(len(model.manifest["steps"]), np.uint64)
        self.steps: list[Any] = []

    def turn(self) -> None:
        """Some runs; each step's fastest counts, so that it matters little when others get the processor."""
        best = np.full(len(self.took), np.inf)
        for _ in range(_RUNS_OF_A_TURN):
            self.model.run(self.inputs, self.outputs, self.took)
            np.minimum(best, self.took, out=best)
        self.steps.append(best)

    def whole(self) -> Any:
        """Seconds of each turn."""
        return np.array(self.steps).sum(axis=1) * 1e-9

    def by_kernel(self) -> dict[str, Any]:
        """Nanoseconds of each kernel in each turn."""
        table, places = np.array(self.steps), np.array(self.model.manifest["steps"])
        kernels = self.model.manifest["kernels"]
        return {kernel["name"]: table[:, places == place].sum(axis=1) for place, kernel in enumerate(kernels)}


def _values(rng: Any, tensor: Any, end: int) -> Any:
    """Random data: floats around zero, bytes below `end`, other integers that are valid as indices and flags."""
    if tensor.dtype == "bfloat16":
        return (rng.standard_normal(tensor.shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if tensor.numpy_dtype.kind == "f":
        return rng.standard_normal(tensor.shape).astype(tensor.numpy_dtype)
    if tensor.dtype in ("int8", "uint8"):
        return rng.integers(0, end, tensor.shape).astype(np.uint8).view(tensor.numpy_dtype)
    return rng.integers(0, 2, tensor.shape).astype(tensor.numpy_dtype)


def _difference(array: Any, reference: Any) -> float:
    if array.dtype.kind != "f":
        return float(np.mean(array != reference)) if array.size else 0.0
    strange, strange_too = ~np.isfinite(array), ~np.isfinite(reference)
    if not np.array_equal(array[strange], reference[strange_too], equal_nan=True):
        return float("inf")
    a, b = array[~strange].astype(np.float64), reference[~strange_too].astype(np.float64)
    if a.shape != b.shape:
        return float("inf")
    scale = float(np.max(np.abs(b), initial=0.0))
    return float(np.max(np.abs(a - b), initial=0.0)) / (scale or 1.0)


def main() -> None:
    """Answers requests until the input ends. The first argument, if there is one, is how many bytes it may have."""
    if len(sys.argv) > 1:
        most_memory = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_AS, (most_memory, most_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tuner, which waits for this measurement
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed does not get among the answers
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_receive, args=(requests,), daemon=True).start()
    while True:
        request = json.loads(requests.get())
        paths, threads, seconds = request["paths"], request["threads"], request["seconds"]
        try:
            if request["operation"] == "compare":
                answer = compare(paths, threads, seconds)
            else:
                answer = measure(paths[0], threads, request["rounds"], seconds)
        except (LoadError, ValueError, RuntimeError, MemoryError, OSError) as error:
            answer = {"error": str(error) or type(error).__name__}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def _receive(requests: queue.Queue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # nobody is left to answer, and the main thread may be in a kernel that never ends


if __name__ == "__main__":
    main()
