"""Shares this machine's cores between what is measured and what compiles meanwhile."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from ..build.objects import COMPILING


@contextlib.contextmanager
def kept_free(count: int) -> Iterator[None]:
    """Keeps what compiles off so many cores, if that leaves it any; it has all of them back afterwards."""
    if not hasattr(os, "sched_setaffinity"):  # as on macOS
        yield
        return
    cores = sorted(os.sched_getaffinity(os.getpid()))
    _confine(cores[:-count] or cores)
    try:
        yield
    finally:
        _confine(cores)


def _confine(cores: list[int]) -> None:
    """Threads that these start later are confined like them."""
    compiling = [thread.native_id for thread in threading.enumerate() if thread.name.startswith(COMPILING)]
    for thread in filter(None, compiling):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(thread, cores)
