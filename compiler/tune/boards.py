"""Where trials are measured: on this machine, in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..runtime.serve import Worker


class BoardError(Exception):
    """The board did not measure: the trial does not run there, or crashed."""


class LostError(BoardError):
    """The board cannot be reached any more."""


@dataclass(frozen=True)
class Times:
    """What a trial gave for one version.

    Attributes:
        seconds: of each step in each round, [rounds, steps].
        differences: of each output from the first version's, by name.
    """

    seconds: np.ndarray[Any, Any]
    differences: Mapping[str, float]

    def of(self, steps: Sequence[int]) -> np.ndarray[Any, Any]:
        """Seconds of some steps together in each round."""
        total: np.ndarray[Any, Any] = self.seconds[:, list(steps)].sum(axis=1)
        return total


class Board(Protocol):
    """A machine that measures trials, one at a time."""

    name: str
    threads: int

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        """Runs a trial; a result for each version. Raises BoardError."""

    def close(self) -> None:
        """Lets the machine go."""


class LocalBoard:
    """This machine.

    Args:
        threads: of the kernels.
    """

    def __init__(self, threads: int) -> None:
        self.name, self.threads = "this machine", threads
        self._worker = Worker()

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        request = {"path": str(trial), "threads": self.threads, "rounds": rounds, "seconds": seconds}
        return read_answer(self._worker.run(request, seconds), trial)

    def close(self) -> None:
        self._worker.end()


def read_answer(answer: dict[str, Any], trial: Path) -> list[Times]:
    """The versions in a worker's answer. Raises BoardError for an error, and for what is no such answer."""
    try:
        if "error" in answer:
            raise BoardError(str(answer["error"])[:500])
        return [_times(version) for version in answer["versions"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BoardError(f"no answer to {trial.name} that makes sense: {error}") from None


def _times(version: dict[str, Any]) -> Times:
    seconds = np.array(version["nanoseconds"], np.float64) * 1e-9
    differences = {str(name): float(value) for name, value in version["differences"].items()}
    if seconds.ndim != 2 or not (seconds >= 0).all() or not len(seconds):
        raise ValueError("of another shape")
    return Times(seconds, differences)
