"""Boards that TVM's RPC tracker knows: jobs go to TVM's RPC servers.

A board needs what TVM's Python server needs, Python and NumPy. For each job the tracker is asked for a session, so that
others' work gets its turn; what measures there goes along, and a library of ours, tracker.c, starts it. The protocol
has neither authentication nor encryption: whoever reaches a server runs code there.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..build.cache import Cache
from ..build.toolchain import link_shared
from ..errors import UserError
from ..runtime.serve import MOST_SECONDS, WORKER
from ..target import Target
from .boards import BoardError, Comparison, LostError, Times, read_answer, read_comparison
from .remote import parse_address

_TRACKER_SECONDS = 10.0  # for an answer that is there at once
_WAIT_SECONDS = 120.0  # for a board that others use
_JOB_SECONDS = 1.5 * MOST_SECONDS  # with starting Python
_TRANSFER_SECONDS = 1.5 * MOST_SECONDS  # for what goes there and back, and for what TVM starts there
_SENT = tuple(WORKER.with_name(name) for name in ("job.py", "serve.py", "measure.py", "thermal.py", "loader.py"))
_LIBRARY = "edgec_tracker.so"
# Of tracker.c; less is an exit status.
_STATUS = {1002: "it can start no process", 1003: "what measures there never ended"}

Made = TypeVar("Made")


class TrackerBoard:
    """A board that TVM's RPC tracker hands out.

    Args:
        tracker: that knows it.
        name: for people.
        threads: of the kernels.
        library: tracker.c for the board's machine.
    """

    def __init__(self, tracker: _Tracker, name: str, threads: int, library: bytes) -> None:
        self.name, self.threads = name, threads
        self._tracker, self._library = tracker, library

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        request = {"operation": "trial", "threads": self.threads, "rounds": rounds, "seconds": seconds}
        return read_answer(self.run(request, [trial]), trial)

    def compare(self, first: Path, second: Path, seconds: float) -> Comparison:
        request = {"operation": "compare", "threads": self.threads, "seconds": seconds}
        return read_comparison(self.run(request, [first, second]))

    def run(self, request: Mapping[str, Any], artifacts: Sequence[Path] = ()) -> dict[str, Any]:
        """What job.py answers there. Raises BoardError."""
        address = self._tracker.request()
        most = _JOB_SECONDS + _TRANSFER_SECONDS
        try:
            answer = json.loads(_within(most, lambda: self._talk(address, most, request, artifacts)))
            if not isinstance(answer, dict):
                raise ValueError("it answered what makes no sense")
            return answer
        except BoardError:
            raise
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:  # what TVM raises is a RuntimeError
            why = next(iter(str(error).strip().splitlines()[-1:]), "") or type(error).__name__
            raise LostError(why[:200]) from error

    def _talk(
        self, address: tuple[str, int, str], most: float, request: Mapping[str, Any], artifacts: Sequence[Path]
    ) -> bytes:
        from tvm import rpc

        session = rpc.connect(*address, session_timeout=int(most))
        session.upload(bytearray(self._library), _LIBRARY)
        for source in _SENT:
            session.upload(bytearray(source.read_bytes()), source.name)
        paths = [f"{place}.so" for place in range(len(artifacts))]
        for path, artifact in zip(paths, artifacts, strict=True):
            session.upload(bytearray(artifact.read_bytes()), path)
        session.upload(bytearray(json.dumps({**request, "paths": paths}).encode()), "request")
        try:
            job = session.load_module(_LIBRARY)["edgec_job"]
        except (RuntimeError, AttributeError) as error:
            raise _OtherMachine(str(error).strip().splitlines()[-1][:200]) from error
        status = job(session.get_function("tvm.rpc.server.workpath")(""), int(1000 * _JOB_SECONDS))
        if status:
            raise BoardError(_STATUS.get(status, f"what measures there crashed, with status {status}"))
        return bytes(session.download("answer"))

    def close(self) -> None:
        """Nothing is held between jobs."""


class _OtherMachine(BoardError):
    """The board does not load our library."""


def tracker_boards(address: str, key: str, threads: int, target: Target) -> list[TrackerBoard]:
    """All boards of a key that a tracker knows, each a board.

    Args:
        address: `HOST:PORT` of the tracker.
        threads: of the kernels.

    Raises:
        UserError: there is no tracker, it knows no such key, or a board of it is not of the target's architecture, or
            has no NumPy.
    """
    tracker = _Tracker(parse_address(address, "--tracker"), key)
    keys = tracker.keys()
    count = keys.count(key)
    if not count:
        known = f"it knows {', '.join(sorted(set(keys)))}" if keys else "no board has registered"
        raise UserError(f"the tracker at {address} has no board of the key {key!r:.80}: {known}", "--key")
    library = _build(target)
    boards = [TrackerBoard(tracker, f"{key} {number} at {address}", threads, library) for number in range(1, count + 1)]
    try:
        boards[0].run({})
    except _OtherMachine as error:
        what = f"a board of the key {key!r:.80} does not load code for {target.machine}: {error}"
        raise UserError(what, "--key", "give the board's own --target") from error
    except LostError as error:
        what = f"lost {boards[0].name}: {error}"
        raise UserError(what, "--tracker", "look whether its boards can be reached from here, and are free") from error
    except BoardError as error:
        what = f"a board of the key {key!r:.80} cannot measure: {error}"
        raise UserError(what, "--key", "its server has to run in a Python of at least 3.8 with NumPy") from error
    return boards


class _Tracker:
    """A client of the tracker, for one key; a connection for each question."""

    def __init__(self, address: tuple[str, int], key: str) -> None:
        self._address, self._key = address, key

    @property
    def name(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    def keys(self) -> list[str]:
        """The key of each board that is registered. Raises UserError."""
        from tvm.rpc.base import TrackerCode

        try:
            summary = self._ask([TrackerCode.SUMMARY], _TRACKER_SECONDS)
            return [str(one["key"]).partition(":")[2] for one in summary["server_info"]]
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            fix = "start it: python -m tvm.exec.rpc_tracker"
            raise UserError(f"no TVM RPC tracker at {self.name}: {why:.200}", "--tracker", fix) from error

    def request(self) -> tuple[str, int, str]:
        """Host, port and key of a board that is ours until we leave it. Raises LostError."""
        from tvm.rpc.base import TrackerCode

        try:
            host, port, key = self._ask([TrackerCode.REQUEST, self._key, "edgec", 1], _WAIT_SECONDS)
            return str(host), int(port), str(key)
        except TimeoutError as error:
            why = f"no board of the key {self._key!r:.80} was free within {_WAIT_SECONDS:.0f} seconds"
            raise LostError(f"{why}, says the tracker at {self.name}") from error
        except (OSError, ValueError, TypeError, struct.error) as error:
            raise LostError(f"lost the tracker at {self.name}: {error}") from error

    def _ask(self, message: list[Any], seconds: float) -> Any:
        from tvm.rpc.base import RPC_TRACKER_MAGIC, TrackerCode, recvall, recvjson, sendjson

        with socket.create_connection(self._address, seconds) as connection:
            connection.sendall(struct.pack("<i", RPC_TRACKER_MAGIC))
            if struct.unpack("<i", recvall(connection, 4)) != (RPC_TRACKER_MAGIC,):
                raise ValueError("what listens there is something else")
            sendjson(connection, message)
            status, answer = recvjson(connection)
        if status != TrackerCode.SUCCESS:
            raise ValueError(f"it answered {str(answer)[:200]}")
        return answer


def _within(seconds: float, work: Callable[[], Made]) -> Made:
    """The result of work that may never end, as TVM waits for a board that is gone without a word.

    Raises:
        TimeoutError: it takes longer, and goes on in its thread.
    """
    made: list[Made] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0].with_traceback(None)  # whose frames would keep what they use, as a board's session
    if not made:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    return made[0]


def _build(target: Target) -> bytes:
    """tracker.c as a library for a target. Raises UserError if there is no compiler for it."""
    from tvm_ffi.libinfo import find_dlpack_include_path, find_include_path

    with tempfile.TemporaryDirectory(prefix="edgec-tracker-") as name:
        folder = Path(name, "source")
        folder.mkdir()
        (folder / "tracker.c").symlink_to(Path(__file__).with_name("tracker.c"))
        for path in (Path(find_include_path(), "tvm"), Path(find_dlpack_include_path(), "dlpack")):
            os.symlink(path, folder / path.name)
        out = Path(name, _LIBRARY)
        link_shared(target, [], folder, out, Cache())
        return out.read_bytes()
