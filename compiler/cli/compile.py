"""`edgec compile`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ..calibration import calibrate
from ..frontend.prepare import load_model
from ..frontend.rows import rows_shapes
from ..frontend.shapes import parse_shapes, range_text
from ..pipeline import QUANTISED, Artifact, Clock, Options, compile_with, count_phases, quantize_for, resolve
from ..report.floats import float_lines
from ..report.kernels import failed_rules, tuned_lines
from .precision import check_options, precision_options, print_accuracy
from .samples import read_samples
from .show import kib

if TYPE_CHECKING:
    from ..quantize.post_training import Quantised


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target", default="host", show_default=True, help="A board's name, `host`, or a TOML file.")
@click.option("-o", "out", type=click.Path(path_type=Path), help="The artifact; MODEL.so by default.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1x3x224x224",
    help="Fix an input's shape, or a range like 1..8x3x224x224; repeatable.",
)
@precision_options
@click.option(
    "--tuning-logs",
    type=click.Path(path_type=Path),
    help="Folder of tuning records, in place of your own; those that come with edgec count too.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 9999),
    help="Threads that it will run with: tuning records count that were measured with as many; all by default.",
)
@click.option("--dump", type=click.Path(path_type=Path), help="Folder for the graph after each phase.")
@click.option("--no-verify", is_flag=True, help="Do not compare the result with a reference.")
@click.option("--no-cache", is_flag=True, help="Compile every kernel anew.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    target: str,
    out: Path | None,
    shapes: tuple[str, ...],
    precision: str,
    calibration: Path | None,
    method: str | None,
    metric: str | None,
    max_drop: float | None,
    weight_range: str | None,
    layers: int,
    report: Path | None,
    tuning_logs: Path | None,
    threads: int | None,
    dump: Path | None,
    no_verify: bool,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Compile MODEL, an ONNX file, into one native module for a board."""
    check_options(precision, method=method, metric=metric, max_drop=max_drop, weight_range=weight_range)
    fixed, clock = parse_shapes(shapes), Clock()
    loaded = load_model(model)  # input at fault is known before TVM is imported
    if calibration is not None and precision not in (*QUANTISED, "fp16"):
        loaded = calibrate(loaded, read_samples(calibration, loaded.proto))
    clock.lap("read")
    options = resolve(loaded, target, out, fixed, not no_verify, dump, not no_cache, precision, tuning_logs, threads)
    if precision == "fp16":
        options = replace(options, samples=calibration)
    if not as_json:
        _print_options(model, options, rows=not fixed and rows_shapes(loaded.proto) is not None)
    quantised = None
    source, asked = loaded, options  # for other precisions
    if precision in QUANTISED:
        told = None if as_json else lambda text: click.echo(f"  {text}")
        quantised = quantize_for(loaded, options, calibration, method, metric, max_drop, told, weight_range)
        clock.lap("quantize")
        if not as_json:
            print_accuracy(quantised, layers)
        if quantised.accuracy is not None and not quantised.accuracy.reached:
            if as_json:
                click.echo(json.dumps({"accuracy": quantised.accuracy.to_dict()}, indent=2))
            ctx.exit(1)
        loaded, options = quantised.compiled(options)
    with nullcontext() if as_json else _progress(options, clock):
        artifact = compile_with(loaded, options, clock)
    if report is not None:
        from ..report.precision import write_report

        write_report(report, str(model), source, asked, artifact, quantised)
    if as_json:
        click.echo(json.dumps(_summary(artifact, quantised), indent=2))
    else:
        _print_result(artifact)
    if artifact.verified == "failed":
        ctx.exit(1)


def _print_options(model: Path, options: Options, rows: bool) -> None:
    shapes = " ".join(f"{name}={'x'.join(map(range_text, shape))}" for name, shape in options.shapes.items())
    target = options.target
    click.echo(f"model     {model}")
    click.echo(f"target    {target.name} ({target.triple}, {target.core})")
    click.echo(f"output    {options.out}")
    click.echo(f"shapes    {shapes or ('any number of rows' if rows else 'as in the model')}")
    click.echo(f"precision {options.precision}")
    click.echo(f"verify    {'yes, where it can run' if options.verify else 'no'}")


@contextmanager
def _progress(options: Options, clock: Clock) -> Iterator[None]:
    """Prints a line a phase, above a bar where the error output is a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=count_phases(options))

        def report(name: str, seconds: float) -> None:
            click.echo(f"  {name:<10}{seconds:8.2f} s")
            bar.advance(task)

        clock.progress = report
        yield


def _print_result(artifact: Artifact) -> None:
    manifest = artifact.manifest
    for name, reason in artifact.unscheduled.items():
        click.echo(f"unscheduled: {name}: {reason}", err=True)
    for kernel in manifest["kernels"]:
        for line in [] if kernel["name"] in artifact.unscheduled else failed_rules(kernel):
            click.echo(line, err=True)
    for line in tuned_lines(manifest):
        click.echo(line)
    if artifact.dropped:
        channels = sum(before - after for before, after in artifact.dropped.values())
        click.echo(f"dropped {channels} dead output channels of {len(artifact.dropped)} layers")
    if kept := manifest.get("kept_float32"):
        click.echo(f"float32: too large for float16 is what {', '.join(kept)} make", err=True)
    for line in float_lines(manifest["model"].get("floats")):
        click.echo(line)
    verification = manifest["verification"]
    status = verification["status"]
    detail = f"error {verification['max_error']:.1e}" if "max_error" in verification else verification.get("reason", "")
    if "snr_db" in verification:
        detail += f", signal to noise {verification['snr_db']:.0f} dB"
    click.echo(f"verification {status} ({detail})", err=status == "failed")
    if layer := verification.get("layer"):
        click.echo(f"the first layer that differs by itself: {layer}", err=True)
    memory = manifest["memory"]
    plain = ", ".join(artifact.unscheduled) or "nothing"
    click.echo(
        f"{artifact.path}: {kib(artifact.size)}, weights {kib(memory['weights_bytes'])}, "
        f"arena {kib(memory['arena_bytes'])}, {artifact.kernels} kernels ({artifact.cached} from the cache), "
        f"unscheduled: {plain}"
    )


def _summary(artifact: Artifact, quantised: Quantised | None) -> dict[str, object]:
    accuracy = quantised.accuracy.to_dict() if quantised and quantised.accuracy else None
    return {
        "path": str(artifact.path),
        "bytes": artifact.size,
        "seconds": {phase: round(seconds, 3) for phase, seconds in artifact.seconds.items()},
        "unscheduled": artifact.unscheduled,
        "kernels": artifact.kernels,
        "cached_kernels": artifact.cached,
        "dropped_channels": artifact.dropped,
        **({"accuracy": accuracy} if accuracy else {}),
        "manifest": artifact.manifest,
    }
