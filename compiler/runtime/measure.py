"""Measures trials: small artifacts that run several schedules of a kernel in turns. Needs NumPy and loader.py alone.

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
    from .loader import LoadError, Model
else:  # as a file of its own, beside loader.py
    from loader import LoadError, Model

_SEED = 0


def measure(path: str, threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Runs a trial until there are so many rounds, or the time is over after three.

    Returns:
        For each group of schedules, `nanoseconds`, a list for each round with a number for each schedule; and
        `differences`, for each schedule how far its results are from the first one's: the largest difference by the
        largest value, for integers the share of elements that differ.
    """
    with Model(path, threads) as model:
        rng = np.random.default_rng(_SEED)
        inputs = {tensor.name: _values(rng, tensor.dtype, tensor.numpy_dtype, tensor.shape) for tensor in model.inputs}
        # What a kernel leaves as it is, as the padding around its result, is equal then.
        outputs = {tensor.name: np.zeros(tensor.shape, tensor.numpy_dtype) for tensor in model.outputs}
        groups = model.manifest["trial"]
        took = np.zeros(len(model.manifest["steps"]), np.uint64)
        outputs = model.run(inputs, outputs, took)
        differences = [[_worst(outputs, group[0][0], number) for number, _ in group] for group in groups]
        times: list[list[list[int]]] = [[] for _ in groups]
        end = time.perf_counter() + seconds
        done = 0
        while done < rounds and (done < 3 or time.perf_counter() < end):
            model.run(inputs, outputs, took)
            done += 1
            for group, rows in zip(groups, times):
                rows.append([int(took[step]) for _, step in group])
    return {"groups": [{"nanoseconds": t, "differences": d} for t, d in zip(times, differences)]}


def _values(rng: Any, dtype: str, numpy_dtype: Any, shape: Any) -> Any:
    """Random data: floats around zero, any bytes, and integers that are valid as indices and flags."""
    if dtype == "bfloat16":
        return (rng.standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if numpy_dtype.kind == "f":
        return rng.standard_normal(shape).astype(numpy_dtype)
    if dtype in ("int8", "uint8"):
        return rng.integers(0, 256, shape).astype(np.uint8).view(numpy_dtype)
    return rng.integers(0, 2, shape).astype(numpy_dtype)


def _worst(outputs: dict[str, Any], first: int, number: int) -> float:
    """How far the results of a schedule are from those of the first of its group."""
    prefix = f"result{number}_"
    mine = {name[len(prefix) :]: array for name, array in outputs.items() if name.startswith(prefix)}
    return max([_difference(array, outputs[f"result{first}_{place}"]) for place, array in mine.items()], default=0.0)


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
