"""Measures schedules for a tuner on another machine. Needs Python 3.8 and NumPy.

    python3 serve.py --token-file TOKEN [--host 127.0.0.1] [--port 9190]

Beside it are to be loader.py, measure.py and thermal.py.
Whoever knows the token runs code here, with the rights of this process: that is what it is for. Both sides prove that
they know it, and it is never sent (the challenge of Python's multiprocessing.connection). Jobs are taken one at a time,
from the first byte of what is to be measured, and run in a process with bounds on its memory and time.

A message is JSON: `{"operation": "info"}`, or `trial` or `compare` with `threads`, `seconds` and, of a trial, `rounds`,
followed by one artifact or two. What cannot be done is answered with an `error`, and the connection closed; `lost` in
it says that this machine cannot measure, whatever is sent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING or __package__:
    from .thermal import Watch
else:  # as a file of its own, beside thermal.py
    from thermal import Watch

PROTOCOL = 2
WORKER = Path(__file__).with_name("measure.py")
DEFAULT_PORT = 9190
LEAST_TOKEN = 16  # bytes
MOST_REQUEST = 4 << 10  # bytes of JSON
MOST_ARTIFACT = 512 << 20  # bytes
MOST_SECONDS = 120.0  # of a job
_MOST_ANSWER = 16 << 20  # bytes of JSON
_GRACE = 20.0  # of a job, after these
_HANDSHAKE_SECONDS = 10.0
_STALLED_SECONDS = 15  # in the middle of a message
_UPLOAD_SECONDS = 600.0  # of an artifact
_MOST_CLIENTS = 16
_ARTIFACTS = {"trial": 1, "compare": 2}  # by operation
_PREFIX = "edgec-serve-"
_ABANDONED_SECONDS = 3600


class Refused(Exception):
    """A request that is answered with an error, and no other after it: it may be unclear where the next one begins.

    Args:
        lost: whether this machine cannot measure, whatever is sent.
    """

    def __init__(self, why: str, lost: bool = False) -> None:
        super().__init__(why)
        self.answer: dict[str, Any] = {"error": why, **({"lost": True} if lost else {})}


class Worker:
    """The process that measures; a new one after each that crashed or hung.

    Args:
        most_memory: bytes that it may have; None for any.
    """

    def __init__(self, most_memory: int | None = None) -> None:
        self.most_memory, self.watch = most_memory, Watch()
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer, or an `error`; with the machine's `temperature` after it, and why it was `throttled`."""
        self.watch.begin()
        try:
            answer = self._ask(request)
        except BaseException:
            self.end()  # its answer would be taken for the next one's
            raise
        if answer is None:
            self.end()
            answer = {"error": "it crashed, or never ended"}
        return {**answer, "temperature": self.watch.temperature(), "throttled": self.watch.throttled()}

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER), *([] if self.most_memory is None else [str(self.most_memory)])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        end, answer = time.monotonic() + MOST_SECONDS + _GRACE, b""
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            while not answer.endswith(b"\n"):
                if not select.select([stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                    return None
                part = stdout.read(1 << 16)
                answer += part
                if not part or len(answer) > _MOST_ANSWER:
                    return None
            made = json.loads(answer)
        except (BrokenPipeError, ValueError, RecursionError):
            return None
        return made if isinstance(made, dict) else None

    def end(self) -> None:
        """Kills the process."""
        if self.process is not None:
            process, self.process = self.process, None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


class Server:
    """Serves tuners, jobs of all of them one at a time.

    Args:
        token: what they must know.
        most_memory: bytes that a measurement may take; an artifact may have half of them.
    """

    def __init__(self, host: str, port: int, token: bytes, most_memory: int = 2 << 30) -> None:
        self.token = token
        self.worker, self.busy = Worker(most_memory), threading.Lock()
        self.most_artifact = min(MOST_ARTIFACT, most_memory // 2)
        self.clients = threading.BoundedSemaphore(_MOST_CLIENTS)
        self.closed = False
        remove_abandoned(_PREFIX)
        self.listener = Listener((host, port), backlog=_MOST_CLIENTS)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.listener.address[1])

    def info(self) -> dict[str, Any]:
        """What this machine is."""
        return {
            "protocol": PROTOCOL,
            "machine": platform.machine(),
            "system": sys.platform,
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "most_artifact": self.most_artifact,
            "temperature": self.worker.watch.temperature(),
            "throttled": self.worker.watch.throttled(),
        }

    def serve(self) -> None:
        """Answers until it is closed."""
        while not self.closed:
            try:
                connection = self.listener.accept()
            except OSError as error:
                if not self.closed:
                    _log(f"cannot take a connection: {error}")
                    time.sleep(1.0)  # too many open files, as a rule
                continue
            if not self.clients.acquire(blocking=False):
                _log(f"refused a tuner: {_MOST_CLIENTS} are connected")
                connection.close()
                continue
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self.closed = True
        with contextlib.suppress(OSError), socket.create_connection(self.listener.address, 1.0):
            pass  # wakes up who accepts
        self.listener.close()
        self.worker.end()

    def _talk(self, connection: Any) -> None:
        try:
            set_timeouts(connection, _STALLED_SECONDS)
            with cut_after(connection, _HANDSHAKE_SECONDS):
                deliver_challenge(connection, self.token)
                answer_challenge(connection, self.token)
            while True:
                connection.poll(None)  # a tuner compiles between two requests, for as long as it likes
                connection.send_bytes(json.dumps(self._answer(connection)).encode())
        except Refused as refused:
            _log(f"refused a request: {refused}")
            with contextlib.suppress(OSError):
                connection.send_bytes(json.dumps(refused.answer).encode())
        except (AuthenticationError, AssertionError, EOFError, OSError) as error:  # an assertion of answer_challenge
            _log(f"{type(error).__name__} {error}" if str(error) else "a tuner left")
        finally:
            connection.close()
            self.clients.release()

    def _answer(self, connection: Any) -> dict[str, Any]:
        request = self._request(connection)
        operation = request.get("operation")
        if operation == "info":
            return self.info()
        if operation not in _ARTIFACTS:
            raise Refused(f"no such operation: {operation!r:.40}")
        threads, rounds, seconds = request.get("threads"), request.get("rounds", 1), request.get("seconds", 0.0)
        if not (type(threads) is int and 0 < threads < 1024 and type(rounds) is int and 0 < rounds <= 1000):
            raise Refused("threads or rounds out of range")
        if type(seconds) not in (int, float) or not 0 < seconds <= MOST_SECONDS:
            raise Refused(f"seconds are not up to {MOST_SECONDS:.0f}")
        with self.busy, self._folder() as folder:
            paths = [folder / f"{place}.so" for place in range(_ARTIFACTS[operation])]
            for path in paths:
                self._receive_artifact(connection, path)
            job = {"operation": operation, "paths": list(map(str, paths)), "threads": threads, "rounds": rounds}
            return self.worker.run({**job, "seconds": seconds})

    def _request(self, connection: Any) -> dict[str, Any]:
        try:
            request = json.loads(connection.recv_bytes(MOST_REQUEST))
        except OSError as error:
            raise Refused(f"a request that stalled, or has more than {MOST_REQUEST} bytes: {error}") from error
        except (ValueError, RecursionError) as error:
            raise Refused(f"a request that is not JSON: {error!s:.100}") from error
        if not isinstance(request, dict):
            raise Refused("a request that is no JSON object")
        return request

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        except OSError as error:
            raise Refused(f"the board cannot write temporary files: {error.strerror}", lost=True) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _receive_artifact(self, connection: Any, path: Path) -> None:
        try:
            with cut_after(connection, _UPLOAD_SECONDS):
                content = connection.recv_bytes(self.most_artifact)
        except (OSError, MemoryError) as error:
            raise Refused(
                f"an artifact that stalled, or has more than {self.most_artifact >> 20} MiB: {error}"
            ) from error
        try:
            path.write_bytes(content)
        except OSError as error:
            raise Refused(f"the board cannot write temporary files: {error.strerror}", lost=True) from error


def set_timeouts(connection: Any, seconds: int) -> None:
    """Lets reading and writing fail that waits so long, and the system watch whether the other side is there."""
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            copy.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):  # not all of them on macOS
                copy.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextlib.contextmanager
def cut_after(connection: Any, seconds: float) -> Iterator[None]:
    """Shuts a connection down whose other side takes longer, however busy it seems."""
    timer = threading.Timer(seconds, lambda: _cut(connection))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Any) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def remove_abandoned(prefix: str) -> None:
    """Removes temporary folders that killed processes of this user left, and that nobody touched for an hour."""
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another process removes it
            status = path.lstat()
            if status.st_uid == os.geteuid() and status.st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(path)


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
    parser.add_argument("--memory", type=int, default=2048, help="MiB that a measurement may use")
    options = parser.parse_args(arguments)
    try:
        token = read_token(options.token_file)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    try:
        server = Server(options.host, options.port, token, options.memory << 20)
    except (OSError, OverflowError) as error:
        parser.error(f"cannot listen on {options.host}:{options.port}: {getattr(error, 'strerror', None) or error}")
    print(f"edgec device: {platform.machine()}, listening on {options.host}:{server.port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve()


if __name__ == "__main__":
    main()
