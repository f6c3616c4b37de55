"""Where trials are measured: on this machine, in a process of its own."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..process import CommandError, Server
from ..runtime import measure

WORKER = Path(measure.__file__)

# A trial that takes so much longer than it was given hangs.
_GRACE_SECONDS = 20.0


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

    def ratio(self, place: int) -> tuple[float, float]:
        """Of its time to the first one's in the same round: the median, and that median's standard error."""
        ratios = self.seconds[:, place] / np.maximum(self.seconds[:, 0], 1e-9)
        low, high = np.percentile(ratios, (25, 75))
        # Of normal numbers, half of that range is 0.674 deviations, and a median's error is 1.253 of a mean's.
        return float(np.median(ratios)), float(high - low) / 2 / 0.674 * 1.253 / math.sqrt(len(ratios))


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
        self._server: Server | None = None

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        if self._server is None:
            self._server = Server([sys.executable, str(WORKER)])
        request = {"path": str(trial), "threads": self.threads, "rounds": rounds, "seconds": seconds}
        try:
            answer = self._server.ask(json.dumps(request), seconds + _GRACE_SECONDS)
        except CommandError as error:
            self.close()
            raise BoardError(f"the trial {'never ended' if error.status is None else 'crashed'}") from error
        return read_answer(json.loads(answer), trial)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


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
