"""The one place that runs other programs."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandError(Exception):
    """A program failed; carries the exact command line and what it printed."""

    def __init__(self, command: Sequence[str], status: int | None, output: str) -> None:
        self.command = shlex.join(command)
        self.status = status
        self.output = output
        ended = "ran out of time" if status is None else f"ended with status {status}"
        super().__init__(f"{self.command}\n{ended}:\n{output.strip()[-4000:]}")


def run(
    command: Sequence[str],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> str:
    """Standard output of a command, which gets no input.

    Args:
        env: the whole environment; None for this process's own.
        timeout: seconds.

    Raises:
        CommandError: it could not be started, failed, or ran longer than `timeout`.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(command, None, str(error)) from error
    except OSError as error:
        raise CommandError(command, 127, str(error)) from error
    if done.returncode:
        raise CommandError(command, done.returncode, done.stdout + done.stderr)
    return done.stdout
