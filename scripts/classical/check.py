"""Which cases pass: compiled for a target, run there, and compared with onnxruntime here."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import UserError
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import Target
from compiler.verify.execute import Executor, execute
from scripts.onnx_cases.isolated import Send, in_child

from .case import Case, Sample, Scale
from .reference import Arrays, difference, run_onnxruntime

_SECONDS = 300.0  # the most that a case may take
_THREADS = 2
HERE = "host"  # an executor's name


@dataclass(frozen=True)
class Result:
    """How a case went.

    Attributes:
        operators: of its model; empty if it could not be exported.
        reason: why it does not pass; None if it does.
    """

    case: Case
    operators: tuple[str, ...]
    reason: str | None


def check(case: Case, target: Target, executor: Executor, scale: Scale) -> Result:
    """Trains, exports, compiles, runs and compares, in a process of its own, which may die."""
    messages, death = in_child(lambda send: _check(case, target, executor, scale, send), _SECONDS)
    known: dict[str, Any] = {"operators": []}
    for message in messages:
        known |= message
    reason = f"crash: {death}" if death else known["reason"]
    return Result(case, tuple(known["operators"]), reason)


def _check(case: Case, target: Target, executor: Executor, scale: Scale, send: Send) -> None:
    try:
        sample = case.make(scale)
    except Exception as error:  # exporters raise what they like
        send({"reason": f"not exported: {_line(error)}"})
        return
    send({"operators": sample.operators})
    try:
        expected = run_onnxruntime(sample.model, sample.inputs)
    except Exception as error:
        send({"reason": f"onnxruntime: {_line(error)}"})
        return
    with tempfile.TemporaryDirectory(prefix="edgec-estimators-") as folder:
        try:
            send({"reason": difference(_compile_and_run(sample, target, executor, Path(folder)), expected)})
        except UserError as error:
            send({"reason": f"refused: {_refusal(error)}"})
        except Exception as error:  # TVM raises what it likes
            send({"reason": f"error: {_line(error)}"})


def _compile_and_run(sample: Sample, target: Target, executor: Executor, folder: Path) -> Arrays:
    shapes = {name: array.shape for name, array in sample.inputs.items()}
    artifact = compile_model(sample.model, target, folder / "model.so", shapes, verify=False)
    if executor.name != HERE:
        return execute(executor, artifact.path, sample.inputs, _THREADS)
    with Model(artifact.path, _THREADS) as model:
        return model.run(sample.inputs)


def _refusal(error: UserError) -> str:
    """The message without its head line and advice."""
    _head, _, nodes = error.what.partition(":\n")
    return " ".join((nodes or error.what).split())


def _line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) < 300 else f"{text[:300]}…"
