"""Where trials are measured: on this machine, in a process of its own."""

from __future__ import annotations

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
    """What a trial gave for one group.

    Attributes:
        seconds: of each schedule in each round, [rounds, schedules].
        differences: of each schedule's results from the first one's.
    """

    seconds: np.ndarray[Any, Any]
    differences: tuple[float, ...]

    def median(self, place: int) -> float:
        """Seconds of a schedule."""
        return float(np.median(self.seconds[:, place]))

    def spread(self, place: int) -> float:
        """Half of the range between its quartiles, in seconds."""
        low, high = np.percentile(self.seconds[:, place], (25, 75))
        return float(high - low) / 2

    def ratio(self, place: int) -> float:
        """Of its time to the first one's in the same round, the median."""
        return float(np.median(self.seconds[:, place] / np.maximum(self.seconds[:, 0], 1e-9)))


class Board(Protocol):
    """A machine that measures trials, one at a time."""

    name: str
    threads: int

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        """Runs a trial; a result for each group. Raises BoardError."""

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
    """The groups in a worker's answer. Raises BoardError for an error, and for what is no such answer."""
    try:
        if "error" in answer:
            raise BoardError(str(answer["error"])[:500])
        return [_times(group) for group in answer["groups"]]
    except (ValueError, TypeError, KeyError) as error:
        raise BoardError(f"no answer to {trial.name} that makes sense: {error}") from None


def _times(group: dict[str, Any]) -> Times:
    seconds = np.array(group["nanoseconds"], np.float64) * 1e-9
    differences = tuple(float(value) for value in group["differences"])
    if seconds.ndim != 2 or seconds.shape[1] != len(differences) or not (seconds >= 0).all() or not len(seconds):
        raise ValueError("of another shape")
    return Times(seconds, differences)
