"""What a model ought to compute: onnxruntime without optimisations, or onnx's reference evaluator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import metadata, util
from typing import Any

import numpy as np
import onnx

Arrays = dict[str, np.ndarray[Any, Any]]


class ReferenceError(Exception):
    """No reference can run this model on these inputs."""


def run_reference(proto: onnx.ModelProto, inputs: Mapping[str, np.ndarray[Any, Any]]) -> tuple[str, Arrays]:
    """The reference's name and version, and its outputs by name.

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
            results = run(proto, dict(inputs), names)
        except Exception as error:  # both raise what they like
            reasons.append(f"{label}: {' '.join(str(error).split())[:200]}")
            continue
        if not all(isinstance(r, np.ndarray | np.generic) for r in results):
            reasons.append(f"{label}: an output is not a tensor")
            continue
        title = f"{label} {metadata.version(label)}" if label != "onnx" else f"onnx.reference {metadata.version(label)}"
        return title, {name: np.asarray(r) for name, r in zip(names, results, strict=True)}
    raise ReferenceError("; ".join(reasons))


def _run_onnxruntime(proto: onnx.ModelProto, inputs: Arrays, names: list[str]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(names, inputs))


def _run_onnx(proto: onnx.ModelProto, inputs: Arrays, names: list[str]) -> list[Any]:
    from onnx.reference import ReferenceEvaluator

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return list(ReferenceEvaluator(proto).run(names, inputs))
