"""Which cases pass: compiled for a target, run there, and compared with onnxruntime here."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import UserError
from compiler.pipeline import compile_model
from compiler.runtime.loader import Model
from compiler.target import Target
from compiler.verify.execute import execute, find_executor
from scripts.onnx_cases.isolated import Message, Send, in_child

from .case import Case, Sample, Scale
from .reference import Arrays, difference, run_onnxruntime

_SECONDS = 300.0  # the most that a step of a case may take
_BATCH = 16  # cases of one process: its first one takes a second more than the others
_THREADS = 2
_HERE = "host"  # an executor's name


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


def check(
    cases: Sequence[Case], target: Target, scale: Scale, progress: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Trains, exports, compiles, runs and compares, in other processes, which may die.

    Cases that take any number of rows are tried with several here, and with all of their rows in an emulator, whose
    starts take seconds.

    Args:
        progress: called with each result.

    Raises:
        NoExecutor: artifacts of the target do not run here.
    """
    executor = find_executor(target.os, target.machine, target)

    def run(path: Path, inputs: Arrays) -> Arrays:
        if executor.name != _HERE:
            return execute(executor, path, inputs, _THREADS)
        with Model(path, _THREADS) as model:
            return model.run(inputs)

    def work(batch: Sequence[Case], send: Send) -> None:
        for case in batch:
            send({"begin": case.name})
            send(_check(case, target, scale, run, executor.name == _HERE, send))

    results: list[Result] = []
    while len(results) < len(cases):
        batch = cases[len(results) :][:_BATCH]
        found = _read(batch, *in_child(functools.partial(work, batch), _SECONDS))
        for result in found:
            progress(result)
        results += found
    return results


def _read(batch: Sequence[Case], messages: Sequence[Message], death: str | None) -> list[Result]:
    """The results of a batch up to the case that killed its process."""
    found: list[Result] = []
    operators: tuple[str, ...] = ()
    for message in messages:
        if "begin" in message:
            operators = ()
        elif "operators" in message:
            operators = tuple(message["operators"])
        else:
            found.append(Result(batch[len(found)], operators, message["reason"]))
    if death:
        found.append(Result(batch[len(found)], operators, f"crash: {death}"))
    return found


def _check(
    case: Case, target: Target, scale: Scale, run: Callable[[Path, Arrays], Arrays], quick: bool, send: Send
) -> dict[str, str | None]:
    try:
        sample = case.make(scale)
    except Exception as error:  # exporters raise what they like
        return {"reason": f"not exported: {_line(error)}"}
    send({"operators": sample.operators})
    with tempfile.TemporaryDirectory(prefix="edgec-estimators-") as folder:
        try:
            shapes = None if case.any_rows else {name: array.shape for name, array in sample.inputs.items()}
            path = compile_model(sample.model, target, Path(folder, "model.so"), shapes, verify=False).path
            return {"reason": next(filter(None, _differences(sample, path, run, case.any_rows and quick)), None)}
        except UserError as error:
            return {"reason": f"refused: {_refusal(error)}"}
        except Exception as error:  # TVM and onnxruntime raise what they like
            return {"reason": f"error: {_line(error)}"}


def _differences(
    sample: Sample, path: Path, run: Callable[[Path, Arrays], Arrays], some_rows: bool
) -> Iterator[str | None]:
    """What is wrong with the results for all rows, and where that is asked for some, one and none."""
    expected = sample.expected or run_onnxruntime(sample.model, sample.inputs)
    count = len(next(iter(sample.inputs.values())))
    for rows in (count, *(sorted({0, 1, count // 3} - {count}) if some_rows else ())):
        inputs, part = ({n: a if rows == count else a[:rows] for n, a in x.items()} for x in (sample.inputs, expected))
        wrong = difference(run(path, inputs), part)
        yield wrong and f"with {rows} rows: {wrong}"


def _refusal(error: UserError) -> str:
    """The message without its head line and advice."""
    _head, _, nodes = error.what.partition(":\n")
    return " ".join((nodes or error.what).split())


def _line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) < 300 else f"{text[:300]}…"
