"""The one place that runs other programs."""

from __future__ import annotations

import select
import shlex
import subprocess
import tempfile
import time
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


class Server:
    """A program that stays, and answers each line that it gets with one.

    Args:
        command: as of `run`; it is started at once.

    Raises:
        CommandError: it could not be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
            )
        except OSError as error:
            self._errors.close()
            raise CommandError(command, 127, str(error)) from error

    def ask(self, line: str, timeout: float) -> str:
        """The answer to a line.

        Args:
            timeout: seconds.

        Raises:
            CommandError: it ended, or did not answer in time; it is of no use then.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        answer = bytearray()
        end = time.monotonic() + timeout
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise CommandError(self.command, None, f"no answer within {timeout:.0f} seconds")
            part = stdout.read(1 << 16)
            if not part:
                raise self._ended()
            answer += part
        return answer.decode()

    def _ended(self) -> CommandError:
        status = self._process.wait()
        self._errors.seek(0)
        return CommandError(self.command, status, self._errors.read().decode(errors="replace"))

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
