"""Where trials are measured: on this machine, in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..build.objects import usable_cores
from ..errors import UserError
from ..runtime.serve import Worker
from ..target import Target
from ..target_detect import missing_here
from .cores import kept_free
from .turns import own_turn

_SENSELESS = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError)  # what answers of any kind may raise
_LEAST_GAIN = 0.002  # of a whole model


class BoardError(Exception):
    """The board did not measure: the trial does not run there, or crashed."""


class LostError(BoardError):
    """The board cannot be reached any more."""


@dataclass(frozen=True)
class Heat:
    """How warm a board is after a measurement.

    Attributes:
        temperature: degrees Celsius; None if the board does not report it.
        throttled: why the board lowered its clock meanwhile; empty if it did not.
    """

    temperature: float | None = None
    throttled: str = ""


@dataclass(frozen=True)
class Times:
    """What a trial gave for one version.

    Attributes:
        seconds: of each step in each round, [rounds, steps].
        differences: of each output from the first version's, by name.
        heat: of the board.
    """

    seconds: np.ndarray[Any, Any]
    differences: Mapping[str, float]
    heat: Heat = Heat()

    def of(self, steps: Sequence[int]) -> np.ndarray[Any, Any]:
        """Seconds of some steps together in each round."""
        total: np.ndarray[Any, Any] = self.seconds[:, list(steps)].sum(axis=1)
        return total


@dataclass(frozen=True)
class Comparison:
    """How fast two artifacts of one model are.

    Attributes:
        medians: seconds of each one's turns, the sum of its steps.
        ratio: of the second's time to the first's in the same turn, the median.
        kernels: that ratio by kernel, of those that both have.
        noise: what the ratio may be wrong by.
        heat: of the board.
    """

    medians: tuple[float, float]
    ratio: float
    kernels: Mapping[str, float]
    noise: float = 0.0
    heat: Heat = Heat()

    @property
    def faster(self) -> bool:
        """Whether the second one is, beyond the noise, and by enough to be worth a record."""
        return self.ratio < 1.0 - max(self.noise, _LEAST_GAIN)


class Board(Protocol):
    """A machine that measures trials, one at a time."""

    name: str
    threads: int

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        """Runs a trial; a result for each version. Raises BoardError."""

    def compare(self, first: Path, second: Path, seconds: float) -> Comparison:
        """Runs two artifacts in turns. Raises BoardError."""

    def close(self) -> None:
        """Lets the machine go."""


class LocalBoard:
    """This machine.

    Args:
        threads: of the kernels.
        tell: called with a line for the user when another session measures here, too.
    """

    def __init__(self, threads: int, tell: Callable[[str], None] = lambda text: None) -> None:
        self.name, self.threads = "this machine", threads
        self._worker, self._tell, self._told = Worker(), tell, False

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        request = {"operation": "trial", "paths": [str(trial)], "threads": self.threads, "rounds": rounds}
        return read_answer(self._run({**request, "seconds": seconds}), trial)

    def compare(self, first: Path, second: Path, seconds: float) -> Comparison:
        request = {"operation": "compare", "paths": [str(first), str(second)], "threads": self.threads}
        return read_comparison(self._run({**request, "seconds": seconds}))

    def close(self) -> None:
        self._worker.end()

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        with own_turn(self._wait), kept_free(self.threads):
            return self._worker.run(request)

    def _wait(self) -> None:
        if not self._told:
            self._tell("another session measures on this machine: they take turns, and both take longer")
        self._told = True


def local_board(threads: int, target: Target, tell: Callable[[str], None] = lambda text: None) -> LocalBoard:
    """This machine. Raises UserError if it cannot measure for the target, with so many threads."""
    if missing := missing_here(target):
        raise UserError(
            f"{target.name} cannot be measured on this machine, which lacks {', '.join(missing)}",
            "--target",
            "name a board that runs `edgec device serve` with --rpc, or estimate with --static",
        )
    check_threads("this machine", usable_cores(), threads)
    return LocalBoard(threads, tell)


def check_threads(name: str, cores: int, threads: int) -> None:
    """Raises UserError if a board has fewer cores."""
    if threads > cores:
        raise UserError(f"{name} has {cores} cores for {threads} threads", "--threads", "give fewer")


def read_answer(answer: Mapping[str, Any], trial: Path) -> list[Times]:
    """The versions in a worker's answer. Raises BoardError for an error, and for what is no such answer."""
    if "error" in answer:
        raise BoardError(_printable(answer["error"]))
    try:
        times = [_times(version, _heat(answer)) for version in answer["versions"]]
        if not times:
            raise ValueError("nothing was measured")
        return times
    except _SENSELESS as error:
        raise BoardError(f"no answer to {trial.name} that makes sense: {error}") from None


def read_comparison(answer: Mapping[str, Any]) -> Comparison:
    """What a worker found. Raises BoardError for an error, and for what is no such answer."""
    if "error" in answer:
        raise BoardError(_printable(answer["error"]))
    try:
        first, second = (float(median) for median in answer["medians"])
        kernels = {str(name): float(ratio) for name, ratio in answer["kernels"].items()}
        comparison = Comparison((first, second), float(answer["ratio"]), kernels, float(answer["noise"]), _heat(answer))
    except _SENSELESS as error:
        raise BoardError(f"no answer to a comparison that makes sense: {error}") from None
    numbers = (first, second, comparison.ratio, comparison.noise, *kernels.values())
    if not all(map(math.isfinite, numbers)) or comparison.ratio <= 0 or comparison.noise < 0:
        raise BoardError("an answer to a comparison with times that are no numbers")
    return comparison


def _heat(answer: Mapping[str, Any]) -> Heat:
    temperature = answer.get("temperature")
    return Heat(None if temperature is None else float(temperature), _printable(answer.get("throttled") or "", 120))


def _printable(text: Any, most: int = 500) -> str:
    """What a board says, for the terminal and for records."""
    return "".join(filter(str.isprintable, str(text)))[:most]


def _times(version: Mapping[str, Any], heat: Heat) -> Times:
    seconds = np.array(version["nanoseconds"], np.float64) * 1e-9
    differences = {str(name): float(value) for name, value in version["differences"].items()}
    if seconds.ndim != 2 or not (np.isfinite(seconds) & (seconds >= 0)).all() or not len(seconds):
        raise ValueError("of another shape")
    return Times(seconds, differences, heat)
