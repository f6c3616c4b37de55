"""`edgec bench`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..errors import UserError
from ..files import write_text
from ..runtime.loader import LoadError
from .show import milliseconds


@click.command("bench")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), help="Threads to use; the target's fast cores by default.")
@click.option("--seconds", type=click.FloatRange(min=0), default=2.0, show_default=True, help="How long to measure.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write the numbers to this file.")
def command(artifact: Path, threads: int | None, seconds: float, json_path: Path | None) -> None:
    """Measure ARTIFACT's latency on this machine, on seeded inputs."""
    from ..report.latency import measure

    try:
        latency = measure(artifact, threads, seconds)
    except LoadError as error:
        raise UserError(str(error)) from error
    if json_path is not None:
        text = json.dumps({"artifact": str(artifact), **latency.to_dict()}, indent=2) + "\n"
        write_text(json_path, text)
    spread = f"{milliseconds(latency.p05)} to {milliseconds(latency.p95)}"
    click.echo(f"threads {latency.threads}, {latency.runs} runs")
    click.echo(f"median  {milliseconds(latency.median)} (5th to 95th percentile {spread})")
    click.echo(f"load    {milliseconds(latency.load)}, first run {milliseconds(latency.first)}")
