"""Several boards of one kind as one: each takes the next trial from a queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from .boards import Board, BoardError, LostError

Job = TypeVar("Job")


class Fleet:
    """Boards that measure at the same time.

    Args:
        boards: at least one, all of the same number of threads.
        lost: called with a board's name and the reason when it is lost.
    """

    def __init__(self, boards: Sequence[Board], lost: Callable[[str, str], None] = lambda name, why: None) -> None:
        self.boards, self._lost = list(boards), lost
        self.threads = boards[0].threads

    def run(self, jobs: Sequence[Job], work: Callable[[Job, Board], None], failed: Callable[[Job, str], None]) -> None:
        """Does every job once, on any board; that of a lost board is done by another.

        Args:
            work: does a job on a board; raises BoardError.
            failed: told of a job that raised one, with the reason.

        Raises:
            LostError: no board is left.
        """
        left: queue.Queue[Job] = queue.Queue()
        for job in jobs:
            left.put(job)
        reasons: list[str] = []
        errors: list[BaseException] = []

        def serve(board: Board) -> None:
            while not errors:
                try:
                    job = left.get_nowait()
                except queue.Empty:
                    return
                try:
                    work(job, board)
                except LostError as error:
                    left.put(job)
                    self.boards.remove(board)
                    reasons.append(str(error))
                    self._lost(board.name, str(error))
                    return
                except BoardError as error:
                    failed(job, str(error))
                except BaseException as error:
                    errors.append(error)
                    return

        # A board that is lost last leaves its job to those that had nothing left to do: they come again.
        while not left.empty() and not errors:
            if not self.boards:
                raise LostError(f"no board is left: {reasons[-1] if reasons else 'there was none'}")
            if len(self.boards) == 1:
                serve(self.boards[0])
                continue
            threads = [threading.Thread(target=serve, args=(board,)) for board in self.boards]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Lets all boards go."""
        for board in self.boards:
            board.close()
