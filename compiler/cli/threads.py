"""The options of commands that run an artifact here: how many threads, and on which CPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_AFFINITY = "CPUs to run on: big, little, all, or numbers as in 0,2-3; the big cores by default."


def thread_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--threads` and `--affinity`, which the loader's Model checks."""
    affinity = click.option("--affinity", metavar="CPUS", help=_AFFINITY)
    threads = click.option(
        "--threads", type=click.IntRange(1, 9999), help="Threads to use; the target's fast cores by default."
    )
    return threads(affinity(command))
