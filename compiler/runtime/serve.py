"""Measures schedules for a tuner on another machine. Needs Python 3.8, NumPy, loader.py and measure.py alone.

    python3 serve.py --token-file TOKEN [--host 127.0.0.1] [--port 9190]

Whoever knows the token runs code here, with the rights of this process: that is what it is for. Both sides prove that
they know it, and it is never sent (the challenge of Python's multiprocessing.connection). Trials run one at a time, in
a process with bounds on its memory and time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("measure.py")
DEFAULT_PORT = 9190
LEAST_TOKEN = 16  # bytes
MOST_REQUEST = 4 << 10  # bytes of JSON
MOST_TRIAL = 512 << 20  # bytes of an artifact
MOST_SECONDS = 120.0  # of a trial
_GRACE = 20.0
_HANDSHAKE_SECONDS = 10.0
_HOT = 0.9  # of the highest frequency: a slower clock than that during a trial is a throttled one


def info() -> dict[str, Any]:
    """What this machine is."""
    return {
        "machine": platform.machine(),
        "system": sys.platform,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "temperature": temperature(),
        "throttled": throttled(),
    }


def temperature() -> float | None:
    """Degrees Celsius of the hottest zone that Linux reports; None if it reports none."""
    found = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            found.append(int(path.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(found, default=None)


def throttled() -> bool:
    """Whether some CPU's highest permitted frequency is below what its hardware can do."""
    for folder in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"):
        try:
            limit, most = (int((folder / name).read_text()) for name in ("scaling_max_freq", "cpuinfo_max_freq"))
        except (OSError, ValueError):
            continue
        if limit < _HOT * most:
            return True
    return False


class Worker:
    """The process that runs trials; a new one after each that crashed or hung.

    Args:
        most_memory: bytes that it may have; None for any.
    """

    def __init__(self, most_memory: int | None = None) -> None:
        self.most_memory = most_memory
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The worker's answer, or an `error`."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                preexec_fn=self._limit,
            )
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                if not select.select([stdout], [], [], seconds + _GRACE)[0]:
                    self.end()
                    return {"error": "the trial never ended"}
                part = stdout.read(1 << 16)
                if not part:
                    self.end()
                    return {"error": "the trial crashed"}
                answer += part
        except BrokenPipeError:
            self.end()
            return {"error": "the trial crashed"}
        made: dict[str, Any] = json.loads(answer)
        return made

    def _limit(self) -> None:
        if self.most_memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (self.most_memory, self.most_memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def end(self) -> None:
        """Kills the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Server:
    """Serves tuners, trials of all of them one at a time.

    Args:
        token: what they must know.
    """

    def __init__(self, host: str, port: int, token: bytes, most_memory: int = 2 << 30) -> None:
        self.token = token
        self.worker, self.busy = Worker(most_memory), threading.Lock()
        self.listener = Listener((host, port))

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.listener.address[1])

    def serve(self) -> None:
        """Answers until the process ends."""
        while True:
            try:
                connection = self.listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self.listener.close()
        self.worker.end()

    def _talk(self, connection: Any) -> None:
        try:
            # Who does not prove the token in time is cut off.
            timer = threading.Timer(_HANDSHAKE_SECONDS, lambda: _cut(connection))
            timer.start()
            try:
                deliver_challenge(connection, self.token)
                answer_challenge(connection, self.token)
            finally:
                timer.cancel()
            while True:
                connection.send_bytes(json.dumps(self._answer(connection)).encode())
        except (AuthenticationError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
            _log(f"{type(error).__name__} {error}" if str(error) else "a tuner left")
        finally:
            connection.close()

    def _answer(self, connection: Any) -> dict[str, Any]:
        request = json.loads(connection.recv_bytes(MOST_REQUEST))
        if request["operation"] == "info":
            return info()
        if request["operation"] != "trial":
            return {"error": "no such operation"}
        threads, rounds, seconds = (request[name] for name in ("threads", "rounds", "seconds"))
        if not (type(threads) is int and 0 < threads < 1024 and type(rounds) is int and 0 < rounds <= 1000):
            return {"error": "numbers out of range"}
        if not (isinstance(seconds, (int, float)) and 0 < seconds <= MOST_SECONDS):
            return {"error": "more seconds than a trial may take"}
        artifact = connection.recv_bytes(MOST_TRIAL)
        with self.busy, tempfile.NamedTemporaryFile(prefix="edgec-trial-", suffix=".so") as file:
            file.write(artifact)
            file.flush()
            job = {"path": file.name, "threads": threads, "rounds": rounds, "seconds": seconds}
            answer = self.worker.run(job, seconds)
        return {**answer, "temperature": temperature(), "throttled": throttled()}


def _cut(connection: Any) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def read_token(path: Path) -> bytes:
    """The token in a file, without white space around it. Raises ValueError if it is too short."""
    token = path.read_bytes().strip()
    if len(token) < LEAST_TOKEN:
        raise ValueError(f"{path}: a token has at least {LEAST_TOKEN} characters")
    return token


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; by default only this machine's own")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: any free one")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the token that tuners must know")
    parser.add_argument("--memory", type=int, default=2048, help="MiB that a trial may use")
    options = parser.parse_args(arguments)
    try:
        server = Server(options.host, options.port, read_token(options.token_file), options.memory << 20)
    except (OSError, ValueError, OverflowError) as error:
        parser.error(str(error))
    print(f"edgec device: {info()['machine']}, listening on {options.host}:{server.port}", flush=True)
    server.serve()


if __name__ == "__main__":
    main()
