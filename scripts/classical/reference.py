"""What a sample ought to compute, by onnxruntime, and how far results are from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from .case import Array

TOLERANCE = 1e-5  # of scores, relative to the larger of 1 and the score
Arrays = dict[str, Array]


def run_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Arrays:
    """The outputs by name, computed on one thread; those of a ZipMap as the array that it takes apart, [N, classes],
    and those that are lists of arrays as NAME_0, NAME_1, …

    Raises:
        Exception: what onnxruntime raises.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(None, dict(inputs))
    named = [_arrays(output.name, result) for output, result in zip(session.get_outputs(), results, strict=True)]
    return {name: array for arrays in named for name, array in arrays.items()}


def _arrays(name: str, result: Any) -> Arrays:
    if not isinstance(result, list):
        return {name: np.asarray(result)}
    if result and isinstance(result[0], np.ndarray):
        return {f"{name}_{number}": array for number, array in enumerate(result)}
    return {name: np.array([list(row.values()) for row in result], np.float32)}


def difference(results: Mapping[str, Array], expected: Mapping[str, Array]) -> str | None:
    """What is wrong with the results; None if labels are equal and scores within TOLERANCE."""
    if missing := expected.keys() - results.keys():
        return f"no output {', '.join(sorted(missing))}"
    wrong = (_difference(results[name], array) for name, array in expected.items())
    return next((f"{name}: {text}" for name, text in zip(expected, wrong, strict=True) if text), None)


def _difference(result: Array, expected: Array) -> str | None:
    if result.shape != expected.shape or not _same_kind(result, expected):
        return f"{_kind(result)}{list(result.shape)}, not {_kind(expected)}{list(expected.shape)}"
    if expected.dtype.kind == "f":
        a, b = result.astype(np.float64), expected.astype(np.float64)
        with np.errstate(invalid="ignore"):
            far = np.abs(a - b) / np.maximum(1, np.abs(b))
        differs = ~((a == b) | (far <= TOLERANCE) | (np.isnan(a) & np.isnan(b)))
    else:
        differs = result != expected
    if not differs.any():
        return None
    place = tuple(int(i[0]) for i in np.nonzero(differs))
    text = f"{int(differs.sum())} of {differs.size} values differ"
    return f"{text}, first at {list(place)}: {result[place]}, not {expected[place]}"


def _same_kind(result: Array, expected: Array) -> bool:
    return _kind(result) == _kind(expected)


def _kind(array: Array) -> str:
    return "text" if array.dtype.kind in "OUST" else str(array.dtype)
