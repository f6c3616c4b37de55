"""`edgec tune`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..errors import UserError
from ..frontend.prepare import load_model
from ..frontend.shapes import parse_shapes
from ..pipeline import QUANTISED, quantize_for, resolve
from .precision import check_options, precision_options
from .show import milliseconds, table

if TYPE_CHECKING:
    from ..tune.search import Progress
    from ..tune.session import Result

_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_budget(text: str) -> float:
    """Seconds of `90s`, `10m`, `1.5h` or `10m30s`. Raises UserError."""
    parts = re.fullmatch(r"(?:\d+(?:\.\d+)?[smh])+", text.strip())
    seconds = sum(float(n) * _UNITS[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)([smh])", text)) if parts else 0.0
    if not seconds:
        raise UserError(f"not a time: {text!r:.40}", "--budget", "give seconds, minutes or hours, as 90s, 10m, 1h30m")
    return seconds


@click.command("tune")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", default="host", show_default=True, help="A board's name, `host`, or a TOML file.")
@click.option("--budget", default="10m", show_default=True, help="Time to spend, as 90s, 10m or 1h.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=1x3x224x224", help="Fix an input's shape; repeatable.")
@precision_options
@click.option("--threads", type=click.IntRange(1, 9999), default=1, show_default=True, help="Of what is measured.")
@click.option("--tuning-logs", type=click.Path(path_type=Path), help="Folder of the records, in place of your own.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")
def command(
    model: Path,
    target: str,
    budget: str,
    shapes: tuple[str, ...],
    precision: str,
    calibration: Path | None,
    method: str | None,
    metric: str | None,
    max_drop: float | None,
    layers: int,
    report: Path | None,
    threads: int,
    tuning_logs: Path | None,
    as_json: bool,
) -> None:
    """Search faster schedules for MODEL's kernels by measuring them; `edgec compile` uses what is found.

    Ctrl-C ends the search early and keeps what was found; running again goes on where it stopped.
    """
    check_options(precision, method=method, metric=metric, max_drop=max_drop)
    seconds = parse_budget(budget)
    loaded = load_model(model)
    options = resolve(loaded, target, None, parse_shapes(shapes), False, None, True, precision, tuning_logs)
    if precision in QUANTISED:
        loaded, options = quantize_for(loaded, options, calibration, method, metric, max_drop).compiled(options)
    from ..build.cache import Cache
    from ..tune.boards import LocalBoard
    from ..tune.fleet import Fleet
    from ..tune.logs import user_logs
    from ..tune.records import Log
    from ..tune.session import tune

    log = Log(tuning_logs if tuning_logs is not None else user_logs(), options.target.name)
    fleet = Fleet([LocalBoard(threads)])
    console = Console(stderr=True)
    try:
        with Live(console=console, transient=True, refresh_per_second=4) as live:

            def show(progress: Progress) -> None:
                if console.is_terminal:
                    live.update(Text(progress_line(progress)))
                elif not as_json:
                    click.echo(progress_line(progress))

            result = tune(loaded, options, fleet, log, seconds, show, Cache())
    finally:
        fleet.close()
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        _print(result, log.folder)


def progress_line(progress: Progress) -> str:
    """What a user waiting wants to know, in a line."""
    return (
        f"{progress.elapsed:5.0f} of {progress.budget:.0f} s  kernels {progress.finished}/{progress.kernels} finished  "
        f"{progress.trials} schedules tried  kernels' time {milliseconds(progress.untuned)} -> "
        f"{milliseconds(progress.best)}  still expected {milliseconds(progress.expected)}"
    )


def _print(result: Result, folder: Path) -> None:
    if not result.applied:
        click.echo(
            f"nothing is applied: of {result.trials} schedules, none made the whole model faster "
            f"(untuned {milliseconds(result.untuned)}, with the best kernels {milliseconds(result.tuned)})"
        )
        return
    rows: list[tuple[str, ...]] = [("TIME", "SCHEDULE", "KERNEL")]
    rows += [
        (f"x {record.ratio:.3f}", record.decision.text if record.decision else "-", result.names[key][0])
        for key, record in sorted(result.verdicts.items(), key=lambda item: item[1].ratio)
    ]
    click.echo(table(rows))
    click.echo(
        f"untuned {milliseconds(result.untuned)}, tuned {milliseconds(result.tuned)}: {1 / result.ratio:.3f} times as "
        f"fast; {len(result.verdicts)} kernels of {len(result.names)}, {result.trials} schedules tried; "
        f"records in {folder}"
    )
