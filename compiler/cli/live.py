"""Progress of long work, in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

Progress = TypeVar("Progress")


@contextmanager
def shown(as_json: bool, line: Callable[[Progress], str]) -> Iterator[Callable[[Progress], None]]:
    """What shows progress: a line that changes on a terminal, else a line each time."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield (lambda progress: None) if as_json else (lambda progress: click.echo(line(progress)))
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        yield lambda progress: live.update(Text(line(progress)))
