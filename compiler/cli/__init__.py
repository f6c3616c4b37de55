"""The command line: `edgec COMMAND`. Commands are imported when they are chosen, so `--help` is instant."""

from __future__ import annotations

import errno
import sys
import traceback
from importlib import import_module

import click

from ..errors import UserError
from ..versions import EDGEC

_COMMANDS = {
    "bench": "Measure an artifact's latency on this machine.",
    "compile": "Compile an ONNX model for a board.",
    "device": "Let other machines measure on this one.",
    "inspect": "Show what a model or an artifact is made of.",
    "run": "Run an artifact on this machine.",
    "targets": "Show the boards that models can be compiled for.",
    "tune": "Search faster schedules by measuring them.",
    "verify": "Compare an artifact's results with the model's.",
}

OK, CHECK_FAILED, USER_ERROR, OUR_ERROR = 0, 1, 2, 3


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{cmd_name}", __name__)
        command: click.Command = getattr(module, "targets" if cmd_name == "targets" else "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(EDGEC, prog_name="edgec")
def cli() -> None:
    """Compile ONNX models into native modules that run on a board with no runtime to install.

    Exit status: 0 done, 1 a check failed, 2 the input is at fault, 3 our fault.
    """


def main() -> None:
    """Entry point of `edgec`: runs the command line and exits with its status."""
    try:
        status = cli(standalone_mode=False)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        status = USER_ERROR
    except click.ClickException as error:
        error.show()
        status = USER_ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo("aborted", err=True)
        status = 130
    except BrokenPipeError:
        status = OK  # the reader of our output, as `head`, has seen enough
        sys.stderr.close()
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            click.echo("error: the disk, or what the output goes to, is full: free some space there", err=True)
            status = USER_ERROR
        else:
            traceback.print_exc()
            click.echo("error: this is a fault of edgec, please report it with the text above", err=True)
            status = OUR_ERROR
    sys.exit(status if isinstance(status, int) else OK)
