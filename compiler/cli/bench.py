"""`edgec bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from ..files import write_text
from ..runtime.loader import LoadError
from .show import milliseconds, table
from .threads import thread_options

if TYPE_CHECKING:
    from ..report.profile import KernelTime
    from ..report.rates import Rates


@click.command("bench")
@click.argument("artifact", type=click.Path(path_type=Path))
@thread_options
@click.option("--seconds", type=click.FloatRange(min=0), default=2.0, show_default=True, help="How long to measure.")
@click.option("--rows", type=click.IntRange(min=1), help="Of each run, if the artifact takes any number of them.")
@click.option("--profile", "profiled", is_flag=True, help="Also measure each kernel, and the machine's limits.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write the numbers to this file.")
def command(
    artifact: Path,
    threads: int | None,
    affinity: str | None,
    seconds: float,
    rows: int | None,
    profiled: bool,
    json_path: Path | None,
) -> None:
    """Measure ARTIFACT's latency on this machine, on seeded inputs."""
    if rows is not None and profiled:
        raise click.UsageError("--profile measures the largest block of rows: leave --rows out")
    from ..report.latency import measure
    from ..report.profile import profile
    from ..report.rates import measure_rates

    try:
        latency = measure(artifact, threads, seconds, affinity, rows)
        result: dict[str, Any] = {"artifact": str(artifact), **latency.to_dict()}
        if profiled:
            rates = measure_rates(latency.threads)
            kernels = profile(artifact, latency.threads, seconds, rates, affinity)
            result |= {"rates": rates.to_dict(), "kernels": [kernel.to_dict() for kernel in kernels]}
    except (LoadError, ValueError) as error:
        raise UserError(str(error)) from error
    if json_path is not None:
        write_text(json_path, json.dumps(result, indent=2) + "\n")
    spread = f"{milliseconds(latency.p05)} to {milliseconds(latency.p95)}"
    each = f" of {latency.rows} rows" if latency.rows is not None else ""
    click.echo(f"threads {latency.threads}, {latency.runs} runs{each}")
    click.echo(f"median  {milliseconds(latency.median)} (5th to 95th percentile {spread})")
    click.echo(f"load    {milliseconds(latency.load)}, first run {milliseconds(latency.first)}")
    if profiled:
        click.echo(_limits(rates))
        click.echo(f"\n{_kernel_table(kernels)}")


def _limits(rates: Rates) -> str:
    reads = ", ".join(f"{level.name} {level.gbs:.0f} GB/s" for level in rates.levels)
    return f"limits  {rates.gflops:.0f} GFLOP/s float32, reading {reads}"


def _kernel_table(kernels: list[KernelTime]) -> str:
    rows: list[tuple[str, ...]] = [("TIME", "SHARE", "CALLS", "GFLOP/S", "GB/S", "OF LIMIT", "RULE", "KERNEL")]
    for kernel in kernels:
        per_second = [_rate(kernel.flops, kernel.seconds), _rate(kernel.moved, kernel.seconds)]
        limit = "-" if kernel.roof is None else f"{kernel.roof:.0%}"
        spent = [milliseconds(kernel.seconds), f"{kernel.share:.1%}", str(kernel.calls)]
        rows.append((*spent, *per_second, limit, kernel.rule, kernel.kernel))
    return table(rows)


def _rate(amount: float | None, seconds: float) -> str:
    return "-" if amount is None or seconds == 0 else f"{amount / seconds / 1e9:.1f}"
