"""`edgec device`."""

from __future__ import annotations

from pathlib import Path

import click

from ..runtime.serve import DEFAULT_PORT, main


@click.group("device")
def command() -> None:
    """Let other machines measure on this one."""


@command.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: any free one.")
@click.option("--token-file", type=click.Path(path_type=Path), required=True, help="What tuners must know.")
@click.option("--memory", type=click.IntRange(min=64), default=2048, show_default=True, help="MiB for a measurement.")
def serve(host: str, port: int, token_file: Path, memory: int) -> None:
    """Measure schedules for `edgec tune --rpc`, one at a time, until the process ends.

    A board needs neither edgec nor TVM for this: serve.py, measure.py, loader.py and thermal.py of compiler/runtime
    do the same with NumPy alone. Whoever knows the token runs code here.
    """
    main(["--host", host, "--port", str(port), "--token-file", str(token_file), "--memory", str(memory)])
