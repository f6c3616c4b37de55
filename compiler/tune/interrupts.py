"""Ctrl-C, at moments at which it can be handled."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupts:
    """While it is entered, a first Ctrl-C is only noted, and a second one before that was looked at ends everything.

    Where it is ignored, as by jobs in the background, it stays so.
    TVM makes a RuntimeError of a KeyboardInterrupt in one of its callbacks.
    """

    def __init__(self) -> None:
        self._noted = False

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True

    def check(self) -> None:
        """Raises KeyboardInterrupt for what was noted."""
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt
