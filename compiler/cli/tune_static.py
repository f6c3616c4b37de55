"""`edgec tune --static`."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import click

from ..emulation.emulator import emulate
from ..tune.static import StaticProgress, tune_static
from .live import shown
from .show import schedules

if TYPE_CHECKING:
    from ..frontend.prepare import Model
    from ..pipeline import Options
    from ..tune.records import Log


def tune_without_board(model: Model, options: Options, log: Log, seconds: float, count: bool, as_json: bool) -> None:
    """Tunes, and prints what came of it."""
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(emulate(options.target)) if count else None
        with shown(as_json, static_line) as show:
            result = tune_static(model, options, log, seconds, emulator, show)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
        return
    for name in result.wrong:
        click.echo(f"wrong results: some schedules of {name}, which were left out", err=True)
    how = "counted in an emulator" if count else "estimated"
    tried = f"{result.estimated} schedules estimated" + (f", {result.counted} counted" if count else "")
    if result.left:
        click.echo(f"the time was over before {result.left} kernels were done: give a larger --budget", err=True)
    if not result.applied:
        click.echo(f"nothing is applied: of {tried}, none is clearly better")
        return
    click.echo(schedules(result.unit.upper(), result.verdicts, result.names))
    click.echo(
        f"{how}, not measured: {result.tuned / result.untuned:.3f} of the kernels' {result.unit}; "
        f"{len(result.verdicts)} decisions, {tried}; records in {log.folder}"
    )


def static_line(progress: StaticProgress) -> str:
    """What a user waiting wants to know, in a line."""
    return (
        f"{progress.elapsed:5.0f} of {progress.budget:.0f} s  kernels {progress.done}/{progress.kernels}  "
        f"{progress.estimated} schedules estimated, {progress.counted} counted"
    )
