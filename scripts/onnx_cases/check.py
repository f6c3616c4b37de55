"""Which cases pass: with the artifacts that we make, or with onnxruntime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from compiler.build.cache import Cache
from compiler.build.extract import Constants
from compiler.errors import UserError
from compiler.target import load_target

from . import road
from .cases import LIGHT, Case
from .compare import difference
from .isolated import Message, Send, in_child
from .peer import run_onnxruntime

Results = dict[str, str | None]  # by the case's name, why it does not pass; None if it does
Progress = Callable[[int], None]

_BATCH = 64  # cases that are linked as one


class Named(Protocol):
    @property
    def name(self) -> str: ...


Item = TypeVar("Item", bound=Named)

_SECONDS = 120.0  # the most that a case may take


def check_artifacts(cases: Sequence[Case], progress: Progress = lambda count: None) -> Results:
    """Compiles the cases for this machine and runs them."""
    target, cache = load_target("host"), Cache()

    def work(batch: Sequence[Case], send: Send) -> None:
        lowered, constants = [], Constants()
        for case in batch:
            send({"begin": case.name})
            try:
                lowered.append(road.lower(case, target, cache, constants))
            except UserError as error:
                send({"case": case.name, "reason": f"refused: {_refusal(error)}"})
            except Exception as error:  # TVM raises what it likes
                send({"case": case.name, "reason": f"error: {type(error).__name__}: {_line(error)}"})
        send({"begin": ""})
        run_apart([part for part in lowered if not part.version.vocabulary], send)
        for part in lowered:
            if part.version.vocabulary:  # an artifact has one
                run_apart([part], send)

    def run_apart(parts: Sequence[road.Lowered], send: Send) -> None:
        """Runs cases as one, or in halves if that ends in an error."""
        if not parts:
            return
        messages, death = in_child(lambda inner: _run(parts, inner), _SECONDS)
        reasons = [message["failed"] for message in messages if "failed" in message]
        if not (death or reasons):
            for message in messages:
                send(message)
        elif len(parts) == 1:
            send({"case": parts[0].case.name, "reason": f"crash: {death}" if death else f"error: {reasons[0]}"})
        else:
            for half in (parts[: len(parts) // 2], parts[len(parts) // 2 :]):
                run_apart(half, send)

    def _run(parts: Sequence[road.Lowered], send: Send) -> None:
        try:
            road.run(parts, target, cache, send)
        except Exception as error:
            send({"failed": f"{type(error).__name__}: {_line(error)}"})

    return check_each(cases, work, progress, _is_large)


def check_onnxruntime(cases: Sequence[Case], progress: Progress = lambda count: None) -> Results:
    """Runs the cases, as onnx has them, with onnxruntime."""

    def work(batch: Sequence[Case], send: Send) -> None:
        for case in batch:
            send({"begin": case.name})
            try:
                reason = difference(run_onnxruntime(case), case)
            except Exception as error:
                reason = f"error: {type(error).__name__}: {_line(error)}"
            send({"case": case.name, "reason": reason})
        send({"begin": ""})

    return check_each(cases, work, progress, _is_large)


def _is_large(case: Case) -> bool:
    return case.operator == LIGHT


def check_each(
    items: Sequence[Item],
    work: Callable[[Sequence[Item], Send], None],
    progress: Progress = lambda count: None,
    alone: Callable[[Item], bool] = lambda item: False,
    seconds: float = _SECONDS,
) -> Results:
    """Does `work` for batches of items in processes of their own; those whose process died have crashed.

    Args:
        work: sends `begin` with an item's name before it does anything for it, and then `case` with `reason`.
        alone: an item that is a batch of its own.
        seconds: the most from one message to the next.
    """
    results: Results = {}
    queue = list(items)
    while queue:
        batch = queue[: 1 if alone(queue[0]) else _BATCH]
        messages, death = in_child(functools.partial(work, batch), seconds)
        results |= {message["case"]: message["reason"] for message in messages if "case" in message}
        if death:
            culprit = _last_begun(messages) or batch[0].name
            results[culprit] = f"crash: {death}"
        queue = [item for item in queue if item.name not in results]
        progress(len(results))
    return results


def _last_begun(messages: Sequence[Message]) -> str:
    begun = [message["begin"] for message in messages if "begin" in message]
    return str(begun[-1]) if begun else ""


def _refusal(error: UserError) -> str:
    """The message without its head line and advice."""
    _head, _, nodes = error.what.partition(":\n")
    return " ".join((nodes or error.what).split())


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 300 else f"{text[:300]}…"
