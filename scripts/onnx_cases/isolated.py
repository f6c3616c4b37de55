"""Work in a forked process, which may die and take nothing else with it."""

from __future__ import annotations

import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]
Send = Callable[[Message], None]


def in_child(work: Callable[[Send], None], timeout: float) -> tuple[list[Message], str | None]:
    """Runs `work`, which sends messages.

    Args:
        timeout: seconds from one message to the next, after which the process is killed.

    Returns:
        The messages, and how the process died; None if it ended well.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryFile() as log:
        child = context.Process(target=_run, args=(work, theirs, log.fileno()))
        child.start()
        theirs.close()
        messages, death = [], None
        while death is None:
            if not ours.poll(timeout):
                child.kill()
                death = f"not done after {timeout:.0f} s"
                break
            try:
                messages.append(json.loads(ours.recv_bytes()))
            except EOFError:
                break
        child.join()
        if death is None and child.exitcode:
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()
            code = child.exitcode
            death = f"died of {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            death += f": {said[-1]}" if said else ""
    return messages, death


def _run(work: Callable[[Send], None], pipe: Any, log: int) -> None:
    sys.stdout.flush()
    faulthandler.disable()  # pytest's prints to a copy of its own
    for stream in (1, 2):  # what C++ libraries print
        os.dup2(log, stream)
    work(lambda message: pipe.send_bytes(json.dumps(message).encode()))
