"""Boards over the network: trials go to `edgec device serve` there."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runtime.serve import MOST_SECONDS, PROTOCOL, cut_after, set_timeouts
from ..target import Target
from .boards import BoardError, Comparison, LostError, Times, check_threads, read_answer, read_comparison

_MOST_ANSWER = 16 << 20
_CONNECT_SECONDS = 10.0
# The board may do other tuners' jobs before it takes or answers ours; the system asks meanwhile whether it is there.
_GRACE_SECONDS = 5 * int(MOST_SECONDS)
_SAME = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}


def parse_address(address: str, option: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises UserError, which names the option that it was given by."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"not an address: {address!r:.80}", option, "give HOST:PORT, as 192.168.1.20:9190")
    return host, int(port)


class RemoteBoard:
    """A board that runs `edgec device serve`.

    Args:
        address: `HOST:PORT`.
        token: what the server was started with.
        threads: of the kernels.

    Raises:
        UserError: it cannot be reached, knows another token, or is not of the target's architecture.
    """

    def __init__(self, address: str, token: bytes, threads: int, target: Target) -> None:
        self.name, self.threads = address, threads
        host, port = parse_address(address, "--rpc")
        try:
            self._connection = _connect(host, port, token)
        except AuthenticationError:
            raise UserError(
                f"{address} knows another token", "--token-file", "give the file that its server was started with"
            ) from None
        except (OSError, EOFError) as error:
            why = getattr(error, "strerror", None) or str(error) or "it closed the connection"
            fix = "run `edgec device serve` there, and check that its port can be reached"
            raise UserError(f"cannot reach {address}: {why}", "--rpc", fix) from error
        try:
            about = self._ask({"operation": "info"}, _CONNECT_SECONDS)
            self._check(about, target)
        except BaseException as error:
            self.close()
            if isinstance(error, BoardError):
                raise UserError(
                    f"cannot reach {address}: {error}", "--rpc", "run `edgec device serve` there"
                ) from error
            raise
        self._most_artifact = int(about["most_artifact"])

    def _check(self, about: dict[str, Any], target: Target) -> None:
        protocol = about.get("protocol")
        if protocol != PROTOCOL or not isinstance(about.get("most_artifact"), int):
            raise UserError(
                f"{self.name} runs the server of another edgec (protocol {protocol!r:.20}, not {PROTOCOL})",
                "--rpc",
                "copy the files of this edgec's compiler/runtime there, and start it again",
            )
        machine = str(about.get("machine"))
        if _SAME.get(machine, machine) != target.machine:
            raise UserError(
                f"{self.name} is {machine:.40}, and {target.name} is {target.machine}",
                "--rpc",
                "give the board's own --target",
            )
        cpus = about.get("cpus")
        if isinstance(cpus, int):
            check_threads(self.name, cpus, self.threads)

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        request = {"operation": "trial", "threads": self.threads, "rounds": rounds, "seconds": seconds}
        return read_answer(self._ask(request, seconds + _GRACE_SECONDS, [trial]), trial)

    def compare(self, first: Path, second: Path, seconds: float) -> Comparison:
        request = {"operation": "compare", "threads": self.threads, "seconds": seconds}
        return read_comparison(self._ask(request, seconds + _GRACE_SECONDS, [first, second]))

    def _ask(self, request: dict[str, Any], timeout: float, artifacts: Sequence[Path] = ()) -> dict[str, Any]:
        payloads = [path.read_bytes() for path in artifacts]
        for payload in payloads:
            if len(payload) > self._most_artifact:
                limit = f"{self._most_artifact >> 20} MiB, which {self.name} takes (its --memory)"
                raise BoardError(f"{len(payload) >> 20} MiB of code and weights are more than {limit}")
        try:
            self._send([json.dumps(request).encode(), *payloads])
            if not self._connection.poll(timeout):
                raise LostError(f"no answer within {timeout:.0f} seconds")
            answer = json.loads(self._connection.recv_bytes(_MOST_ANSWER))
        except BlockingIOError as error:
            raise LostError("it stalled in the middle of a message") from error
        except (OSError, EOFError) as error:
            raise LostError(str(error) or "it closed the connection") from error
        except (ValueError, RecursionError) as error:
            raise LostError(f"it answered what is not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise LostError("it answered what makes no sense")
        if answer.get("lost"):
            raise LostError(f"it cannot measure: {answer.get('error')!s:.200}")
        return answer

    def _send(self, messages: Sequence[bytes]) -> None:
        try:
            for message in messages:
                self._connection.send_bytes(message)
        except (BrokenPipeError, ConnectionResetError):
            if not self._connection.poll():  # else it said why, and closed the connection
                raise

    def close(self) -> None:
        self._connection.close()


def _connect(host: str, port: int, token: bytes) -> Connection:
    """A connection to who knows the token. Raises AuthenticationError, OSError and EOFError."""
    with socket.create_connection((host, port), _CONNECT_SECONDS) as found:
        found.settimeout(None)
        connection = Connection(found.detach())
    try:
        set_timeouts(connection, _GRACE_SECONDS)
        with cut_after(connection, _CONNECT_SECONDS):
            answer_challenge(connection, token)
            deliver_challenge(connection, token)
    except BaseException as error:
        connection.close()
        if isinstance(error, AssertionError):  # of answer_challenge
            raise ConnectionError("what listens there is something else") from error
        raise
    return connection
