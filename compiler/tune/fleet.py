"""Several boards of one kind as one: each takes the next trial from a queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..build.objects import usable_cores
from .boards import Board, BoardError, Comparison, LocalBoard, LostError, Times
from .interrupts import Interrupts

Job = TypeVar("Job")
Measured = TypeVar("Measured", list[Times], Comparison)

# Seconds that a board that throttled gets to cool down before it measures the same again.
_PAUSES = (2.0, 10.0)
_LOOK_SECONDS = 0.1  # Ctrl-C wakes nobody up if another thread than the main one gets it


@dataclass
class State:
    """How a board is.

    Attributes:
        name: of the board.
        measurements: that it did, and of them those with times of a throttled CPU.
        temperature: now, and the highest yet, in degrees Celsius; None if it does not report it.
        why: it throttled when it last did.
        lost: why it is not there any more.
    """

    name: str
    measurements: int = 0
    throttled: int = 0
    temperature: float | None = None
    hottest: float | None = None
    why: str = ""
    lost: str = ""


class Fleet:
    """Boards that measure at the same time.

    Args:
        boards: at least one, all of the same number of threads.
        lost: called with a board's name and the reason when it is lost.

    Attributes:
        interrupts: entered by who wants them to wait for a moment at which the boards can be interrupted.
    """

    def __init__(self, boards: Sequence[Board], lost: Callable[[str, str], None] = lambda name, why: None) -> None:
        self.boards, self._lost = list(boards), lost
        self.threads = boards[0].threads
        self.states = {id(board): State(board.name) for board in boards}
        self._hot: set[int] = set()
        self.interrupts = Interrupts()

    @property
    def leaves_cores(self) -> bool:
        """Whether this machine has cores that nothing is measured on."""
        return usable_cores() > self.threads or not any(isinstance(board, LocalBoard) for board in self.boards)

    def run(self, jobs: Sequence[Job], work: Callable[[Job, Board], None], failed: Callable[[Job, str], None]) -> None:
        """Does every job once, on any board; that of a lost board is done by another.

        Args:
            work: does a job on a board; raises BoardError.
            failed: told of a job that raised one, with the reason.

        Raises:
            LostError: no board is left.
            KeyboardInterrupt: what was under way is done, and no more.
        """
        self.interrupts.check()
        left: queue.Queue[Job] = queue.Queue()
        for job in jobs:
            left.put(job)
        reasons: list[str] = []
        errors: list[BaseException] = []
        stopped = threading.Event()

        def serve(board: Board) -> None:
            while not errors and not stopped.is_set():
                try:
                    job = left.get_nowait()
                except queue.Empty:
                    return
                try:
                    work(job, board)
                except LostError as error:
                    left.put(job)
                    self.boards.remove(board)
                    board.close()
                    self.states[id(board)].lost = str(error)
                    reasons.append(f"lost {board.name}: {error}")
                    self._lost(board.name, str(error))
                    return
                except BoardError as error:
                    failed(job, str(error))

        def serve_until(board: Board, ended: threading.Event) -> None:
            try:
                serve(board)
            except BaseException as error:
                errors.append(error)
            finally:
                ended.set()

        # A board that is lost last leaves its job to those that had nothing left to do: they come again.
        while not left.empty() and not errors:
            if not self.boards:
                raise LostError(f"no board is left: {reasons[-1] if reasons else 'there was none'}")
            # Not joined: a join that is interrupted takes the thread for one that has ended.
            ends = {threading.Event(): board for board in self.boards}
            for ended, board in ends.items():
                threading.Thread(target=serve_until, args=(board, ended), daemon=True).start()
            try:
                self._wait(ends)
            except KeyboardInterrupt:
                # Boards that are interrupted in a measurement would take its answer for that of the next.
                stopped.set()
                for ended in ends:
                    ended.wait()
                raise
        if errors:
            raise errors[0]

    def _wait(self, ends: Iterable[threading.Event]) -> None:
        for ended in ends:
            while not ended.wait(_LOOK_SECONDS):
                self.interrupts.check()
        self.interrupts.check()

    def measure(self, board: Board, measure: Callable[[], Measured]) -> Measured:
        """A measurement on a board. One that throttles meanwhile gets time to cool down, and measures again.

        A board that is too hot even then measures only once from there on, until it is cool.
        """
        state = self.states[id(board)]
        for pause in (*(() if id(board) in self._hot else _PAUSES), 0.0):
            measured = measure()
            heat = measured.heat if isinstance(measured, Comparison) else measured[0].heat
            state.measurements += 1
            state.throttled += bool(heat.throttled)
            if heat.temperature is not None:
                state.temperature = heat.temperature
                state.hottest = max(heat.temperature, state.hottest or heat.temperature)
            if not heat.throttled:
                self._hot.discard(id(board))
                return measured
            state.why = heat.throttled
            time.sleep(pause)
        self._hot.add(id(board))
        return measured

    def current_states(self) -> list[State]:
        """How the boards are now, lost ones too."""
        return [replace(state) for state in self.states.values()]

    def close(self) -> None:
        """Lets all boards go."""
        for board in self.boards:
            board.close()
