"""`edgec tune`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import UserError
from ..files import check_place, write_text
from ..frontend.prepare import load_model
from ..frontend.shapes import parse_shapes
from ..pipeline import QUANTISED, Options, quantize_for, resolve
from .live import shown
from .precision import calibration_options, check_options
from .show import milliseconds, schedules, table

if TYPE_CHECKING:
    from ..build.objects import Workers
    from ..tune.fleet import Fleet, State
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
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--target", default="host", show_default=True, help="A board's name, `host`, or a TOML file.")
@click.option("--budget", default="10m", show_default=True, help="Time to spend, as 90s, 10m or 1h.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=1x3x224x224", help="Fix an input's shape; repeatable.")
@calibration_options
@click.option("--threads", type=click.IntRange(1, 9999), default=1, show_default=True, help="Of what is measured.")
@click.option(
    "--rpc",
    "addresses",
    multiple=True,
    metavar="HOST:PORT",
    help="Measure on a board that runs `edgec device serve`, not here; repeatable for several of one kind.",
)
@click.option("--token-file", type=click.Path(path_type=Path), help="What those servers were started with.")
@click.option(
    "--tracker",
    metavar="HOST:PORT",
    help="Measure on the boards of a TVM RPC tracker; its protocol knows no passwords: for networks that you trust.",
)
@click.option("--key", metavar="NAME", help="Which of the tracker's boards.")
@click.option(
    "--workers",
    metavar="tcp://HOST:PORT",
    help="Compile what is measured on the workers of this Dask scheduler, not here; they are trusted.",
)
@click.option("--static", is_flag=True, help="Measure nothing: rank schedules by what they cost as estimated.")
@click.option("--count-instructions", is_flag=True, help="With --static: choose by instructions counted in qemu.")
@click.option("--tuning-logs", type=click.Path(path_type=Path), help="Folder of the records, in place of your own.")
@click.option("--list", "listed", is_flag=True, help="Show what records there are, and tune nothing.")
@click.option("--prune", "pruned", is_flag=True, help="Keep of each kernel the records that matter.")
@click.option("--export", "exported", type=click.Path(path_type=Path), metavar="FILE", help="Write all records there.")
@click.option("--import", "imported", type=click.Path(path_type=Path), metavar="FILE", help="Take records from there.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="OUT.html", help="Write a page with the gain over time there."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context,
    model: Path | None,
    target: str,
    budget: str,
    shapes: tuple[str, ...],
    precision: str,
    calibration: Path | None,
    method: str | None,
    metric: str | None,
    max_drop: float | None,
    weight_range: str | None,
    threads: int,
    addresses: tuple[str, ...],
    token_file: Path | None,
    tracker: str | None,
    key: str | None,
    workers: str | None,
    static: bool,
    count_instructions: bool,
    tuning_logs: Path | None,
    listed: bool,
    pruned: bool,
    exported: Path | None,
    imported: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Search faster schedules for MODEL's kernels by measuring them; `edgec compile` uses what is found.

    Ctrl-C ends the search early and keeps what was found; running again goes on where it stopped.
    """
    from ..tune.logs import user_logs

    folder = tuning_logs if tuning_logs is not None else user_logs()
    if listed or pruned or exported or imported:
        _check_only(ctx, {"listed", "pruned", "exported", "imported", "tuning_logs", "as_json"})
        _look_after(folder, listed, pruned, exported, imported, as_json)
        return
    if model is None:
        raise click.UsageError("give a MODEL to tune, or one of --list, --prune, --export and --import")
    if bool(addresses) != (token_file is not None):
        raise click.UsageError("--rpc and --token-file go together: boards want to know the token")
    if len(set(addresses)) < len(addresses):
        raise click.UsageError("--rpc names a board twice")
    if (tracker is None) != (key is None):
        raise click.UsageError("--tracker and --key go together: a tracker has boards of many kinds")
    if count_instructions and not static:
        raise click.UsageError("--count-instructions goes with --static: else times are measured")
    if static and (addresses or tracker or workers or report):
        raise click.UsageError("--static measures nothing: leave out --rpc, --tracker, --workers and --report")
    if report is not None:
        check_place(report)
    check_options(precision, method=method, metric=metric, max_drop=max_drop, weight_range=weight_range)
    seconds, fixed = parse_budget(budget), parse_shapes(shapes)
    loaded = load_model(model)
    options = resolve(loaded, target, None, fixed, False, None, True, precision, tuning_logs, threads)
    with contextlib.ExitStack() as stack:
        fleet = None if static else stack.enter_context(_fleet(addresses, token_file, tracker, key, threads, options))
        compilers = stack.enter_context(_workers(workers))
        if precision in QUANTISED:
            quantised = quantize_for(loaded, options, calibration, method, metric, max_drop, None, weight_range)
            loaded, options = quantised.compiled(options)
        from ..build.cache import Cache
        from ..tune.boards import BoardError
        from ..tune.records import Log
        from ..tune.session import tune

        log = Log(folder, options.target.name)
        if fleet is None:
            from .tune_static import tune_without_board

            tune_without_board(loaded, options, log, seconds, count_instructions, as_json)
            return
        with shown(as_json, progress_line) as show:
            try:
                result = tune(loaded, options, fleet, log, seconds, show, Cache(), compilers)
            except KeyboardInterrupt:
                click.echo(f"stopped: what was measured is in {log.folder}; run again to go on", err=True)
                raise
            except BoardError as error:
                fix = "what was measured is kept: see to the board, and run again"
                raise UserError(str(error), str(log.folder), fix) from error
    if report is not None:
        from ..report.tuning import tuning_report

        where = ", ".join(board.name for board in result.boards)
        facts = {
            "model": str(model),
            "precision": precision,
            "target": f"{options.target.name} ({options.target.triple}, {options.target.core})",
            "measured on": f"{where}, {threads} threads" if threads > 1 else f"{where}, 1 thread",
            "budget": budget,
        }
        write_text(report, tuning_report(f"{loaded.name}: tuning", facts, result.to_dict()))
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        _print(result, log.folder)


def _check_only(ctx: click.Context, names: Container[str]) -> None:
    """Refuses other parameters than these."""
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in names:
            extra = "a model" if isinstance(parameter, click.Argument) else parameter.opts[-1]
            raise click.UsageError(f"--list, --prune, --export and --import look after records: leave {extra} out")


@contextmanager
def _fleet(
    addresses: tuple[str, ...],
    token_file: Path | None,
    tracker: str | None,
    key: str | None,
    threads: int,
    options: Options,
) -> Iterator[Fleet]:
    """This machine, or the boards at the addresses and of the tracker."""
    from ..runtime.serve import read_token
    from ..tune.boards import Board, local_board
    from ..tune.fleet import Fleet
    from ..tune.remote import RemoteBoard
    from ..tune.tracker import tracker_boards

    def tell(text: str) -> None:
        click.echo(text, err=True)

    boards: list[Board] = []
    if token_file is not None:
        try:
            token = read_token(token_file)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UserError(f"cannot read the token: {why}", str(token_file)) from error
        boards += [RemoteBoard(address, token, threads, options.target) for address in addresses]
    if tracker is not None and key is not None:
        boards += tracker_boards(tracker, key, threads, options.target)
    if not boards:
        boards.append(local_board(threads, options.target, tell))
    fleet = Fleet(boards, lambda name, why: tell(f"lost {name}: {why}"))
    try:
        yield fleet
    finally:
        fleet.close()


@contextmanager
def _workers(address: str | None) -> Iterator[Workers | None]:
    """Those of the scheduler at the address."""
    if address is None:
        yield None
        return
    from ..tune.workers import DaskWorkers

    workers = DaskWorkers(address, lambda text: click.echo(text, err=True))
    try:
        yield workers
    finally:
        workers.close()


def progress_line(progress: Progress) -> str:
    """What a user waiting wants to know, in a line."""
    left = max(0.0, progress.budget - progress.elapsed)
    parts = [f"{progress.elapsed:5.0f} s, {left:.0f} s left at most"]
    if progress.kernels:
        parts.append(f"kernels {progress.finished}/{progress.kernels} finished  {progress.trials} schedules tried")
    else:
        parts.append(f"graph passes: {progress.models} models with other choices")
    parts.append(f"kernels' time {milliseconds(progress.untuned)} -> {milliseconds(progress.best)}")
    if progress.kernels:
        parts.append(f"still expected {milliseconds(progress.expected)}")
    return "  ".join([*parts, *filter(None, map(_heat_of, progress.boards))])


def _heat_of(board: State) -> str:
    """A board's temperature, and whether it throttles; empty if neither is known."""
    parts = [] if board.temperature is None else [f"{board.temperature:.0f} °C"]
    parts += [f"{board.throttled} of {board.measurements} measurements throttled"] if board.throttled else []
    return f"{board.name}: {', '.join(parts)}" if parts and not board.lost else ""


def _print(result: Result, folder: Path) -> None:
    for board in result.boards:
        if board.throttled:
            click.echo(
                f"{board.name} throttled in {board.throttled} of {board.measurements} measurements, whose times decide "
                f"nothing: {board.why}; cool it better, or lower its clock for good",
                err=True,
            )
    if not result.calls:
        click.echo("nothing to tune: there is one schedule for each of the model's kernels, or there are none")
        return
    start = f"with {result.already} decisions of before" if result.already else "untuned"
    if result.wrong:
        click.echo(f"nothing is applied: the fastest model's results are wrong: {result.wrong}", err=True)
    elif not result.applied:
        click.echo(
            f"nothing is applied: of {result.trials} schedules, none made the whole model faster "
            f"({start} {milliseconds(result.untuned)}, with the best kernels {milliseconds(result.tuned)}; "
            f"{_bound_text(result)})"
        )
    if not result.applied:
        return
    click.echo(schedules("TIME", result.verdicts, result.names))
    click.echo(
        f"{start} {milliseconds(result.untuned)}, tuned {milliseconds(result.tuned)}: {1 / result.ratio:.3f} times as "
        f"fast ({_bound_text(result)}); {len(result.verdicts)} decisions, {result.trials} schedules tried; records in "
        f"{folder}"
    )


def _bound_text(result: Result) -> str:
    return f"the machine's limits allow the searched kernels {result.bound:.2f} times the untuned speed at most"


def _look_after(
    folder: Path, listed: bool, pruned: bool, exported: Path | None, imported: Path | None, as_json: bool
) -> None:
    from dataclasses import asdict

    from ..tune.upkeep import export_records, import_records, list_contents, prune

    done: dict[str, Any] = {"folder": str(folder)}
    if imported is not None:
        done["imported"] = import_records(folder, imported)
    if pruned:
        done["before"], done["kept"] = prune(folder)
    if exported is not None:
        done["exported"] = export_records(folder, exported)
    contents = list_contents(folder) if listed else []
    if as_json:
        click.echo(json.dumps(done | ({"contents": [asdict(one) for one in contents]} if listed else {}), indent=2))
        return
    for name, value in done.items():
        click.echo(f"{name:<9} {value}")
    if listed:
        rows = [("TARGET", "FINGERPRINT", "FAMILY", "KERNELS", "TRIALS", "VERDICTS", "STATIC", "USABLE", "NEWEST")]
        rows += [tuple(map(str, asdict(one).values())) for one in contents]  # type: ignore[misc]
        click.echo(table(rows) if contents else "no records")
