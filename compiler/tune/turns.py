"""Sessions on one machine measure in turns: two at a time would measure each other."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..files import user_folder


@contextmanager
def own_turn(wait: Callable[[], None]) -> Iterator[None]:
    """Nothing else that asks for a turn measures meanwhile, in this process or another of the user's.

    A turn ends with the process that has it, however that ends. Where the user's folder cannot be written to, as in
    some containers, everyone measures at once.

    Args:
        wait: called first if another has its turn.
    """
    try:
        user_folder().mkdir(parents=True, exist_ok=True)
        file = (user_folder() / "measuring.lock").open("ab")
    except OSError:
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
