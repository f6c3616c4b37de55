"""What a model ought to compute: onnxruntime without optimisations, or onnx's reference evaluator."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import onnx

Arrays = dict[str, np.ndarray[Any, Any]]


class ReferenceError(Exception):
    """No reference can run this model on these inputs."""


def run_reference(
    proto: onnx.ModelProto, inputs: Mapping[str, np.ndarray[Any, Any]], path: Path | None = None
) -> tuple[str, Arrays]:
    """The reference's name and version, and its outputs by name; see `run_references`."""
    name, results = run_references(proto, [inputs], path)
    return name, results[0]


def run_references(
    proto: onnx.ModelProto, feeds: Sequence[Mapping[str, np.ndarray[Any, Any]]], path: Path | None = None
) -> tuple[str, list[Arrays]]:
    """The reference's name and version, and for each of the feeds its outputs by name.

    Args:
        path: the file that `proto` was read from, which is faster to read again than `proto` is to write.

    Raises:
        ReferenceError: neither reference takes the model or the inputs; says why.
    """
    names = [v.name for v in proto.graph.output]
    reasons = []
    for label, run in (("onnxruntime", _run_onnxruntime), ("onnx", _run_onnx)):
        if util.find_spec(label) is None:
            reasons.append(f"{label} is not installed")
            continue
        try:
            results = run(proto, [dict(inputs) for inputs in feeds], names, path)
        except Exception as error:  # both raise what they like
            reasons.append(f"{label}: {' '.join(str(error).split())[:200]}")
            continue
        if not all(isinstance(r, np.ndarray | np.generic) for outputs in results for r in outputs):
            reasons.append(f"{label}: an output is not a tensor")
            continue
        title = f"{label} {metadata.version(label)}" if label != "onnx" else f"onnx.reference {metadata.version(label)}"
        return title, [{name: np.asarray(r) for name, r in zip(names, outputs, strict=True)} for outputs in results]
    raise ReferenceError("; ".join(reasons))


def _run_onnxruntime(
    proto: onnx.ModelProto, feeds: list[Arrays], names: list[str], path: Path | None
) -> list[list[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4

    def run(source: str | bytes) -> list[list[Any]]:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return [list(session.run(names, inputs)) for inputs in feeds]

    if path is not None:
        with contextlib.suppress(Exception):  # it refuses nodes out of order, which `proto` has sorted
            return run(str(path))
    return run(proto.SerializeToString())


def _run_onnx(proto: onnx.ModelProto, feeds: list[Arrays], names: list[str], _path: Path | None) -> list[list[Any]]:
    from onnx.reference import ReferenceEvaluator

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        evaluator = ReferenceEvaluator(proto)
        return [list(evaluator.run(names, inputs)) for inputs in feeds]
