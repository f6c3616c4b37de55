"""Measures trials: artifacts with several versions of a program, which run in turns. Needs NumPy and loader.py alone.

A process of its own, since code that is measured may crash or never end: it reads requests from its input, a line of
JSON each, and answers each with one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from .loader import ALIGNMENT, LoadError, Model
else:  # as a file of its own, beside loader.py
    from loader import ALIGNMENT, LoadError, Model

_SEED = 0
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
        inputs = {tensor.name: _values(rng, tensor.dtype, tensor.numpy_dtype, tensor.shape) for tensor in tensors}
        versions = [_Version(model, inputs, shapes) for shapes in model.manifest["shapes"]]
        first = versions[0].results()
        differences = [version.differences(first) for version in versions]
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


class _Version:
    """One of a trial's versions; the last input's shape chooses it."""

    def __init__(self, model: Model, inputs: dict[str, Any], shapes: dict[str, Any]) -> None:
        self.model, chooses = model, np.zeros(shapes["inputs"][-1], np.uint8)
        self.inputs = {**inputs, model.inputs[-1].name: chooses}
        # What a kernel leaves as it is, as the padding around its result, is equal then.
        self.outputs = {tensor.name: _zeros(tensor) for tensor in model.outputs}
        self.took = np.zeros(len(shapes["steps"]), np.uint64)
        self.nanoseconds: list[list[int]] = []

    def results(self) -> dict[str, Any]:
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


def _values(rng: Any, dtype: str, numpy_dtype: Any, shape: Any) -> Any:
    """Random data: floats around zero, any bytes, and integers that are valid as indices and flags."""
    if dtype == "bfloat16":
        return (rng.standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if numpy_dtype.kind == "f":
        return rng.standard_normal(shape).astype(numpy_dtype)
    if dtype in ("int8", "uint8"):
        return rng.integers(0, 256, shape).astype(np.uint8).view(numpy_dtype)
    return rng.integers(0, 2, shape).astype(numpy_dtype)


def _zeros(tensor: Any) -> Any:
    """In memory that kernels write to without a copy, if the tensor is not small."""
    memory = np.zeros(tensor.nbytes + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + tensor.nbytes].view(tensor.numpy_dtype).reshape(tensor.shape)


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
    """Answers requests until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed does not get among the answers
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = measure(request["path"], request["threads"], request["rounds"], request["seconds"])
        except (LoadError, ValueError, RuntimeError, MemoryError, OSError) as error:
            answer = {"error": str(error)}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
