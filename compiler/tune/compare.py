"""Two artifacts of one model, run in turns on one of the boards."""

from __future__ import annotations

from pathlib import Path

from .boards import Board, BoardError, Comparison
from .fleet import Fleet

_SECONDS = 6.0


def compare(first: Path, second: Path, fleet: Fleet) -> Comparison:
    """Runs both on seeded inputs for some seconds.

    Raises:
        BoardError: one of them crashed, or no board is left.
    """
    found: list[Comparison] = []
    reasons: list[str] = []

    def work(_job: int, board: Board) -> None:
        found.append(fleet.measure(board, lambda: board.compare(first, second, _SECONDS)))

    fleet.run([0], work, lambda _job, reason: reasons.append(reason))
    if reasons:
        raise BoardError(f"the whole model cannot be measured: {reasons[0]}")
    return found[0]
