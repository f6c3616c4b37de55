"""Boards over the network: trials go to `edgec device serve` there."""

from __future__ import annotations

import json
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..target import Target
from .boards import BoardError, LostError, Times, read_answer

_MOST_ANSWER = 16 << 20
_GRACE_SECONDS = 60.0  # of other tuners' trials, and of the network
_SAME = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}


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
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise UserError(f"not an address: {address!r:.80}", "--rpc", "give HOST:PORT, as 192.168.1.20:9190")
        try:
            self._connection = Client((host, int(port)), authkey=token)
        except AuthenticationError:
            raise UserError(
                f"{address} knows another token", "--token-file", "give the file that its server was started with"
            ) from None
        except (OSError, EOFError) as error:
            why = getattr(error, "strerror", None) or str(error) or "it closed the connection"
            fix = "run `edgec device serve` there, and check that its port can be reached"
            raise UserError(f"cannot reach {address}: {why}", "--rpc", fix) from error
        about = self._ask({"operation": "info"}, 10.0)
        machine = str(about.get("machine"))
        if _SAME.get(machine, machine) != target.machine:
            self.close()
            raise UserError(
                f"{address} is {machine}, and {target.name} is {target.machine}",
                "--rpc",
                "give the board's own --target",
            )

    def measure(self, trial: Path, rounds: int, seconds: float) -> list[Times]:
        request = {"operation": "trial", "threads": self.threads, "rounds": rounds, "seconds": seconds}
        answer = self._ask(request, seconds + _GRACE_SECONDS, trial.read_bytes())
        return read_answer(answer, trial)

    def _ask(self, request: dict[str, Any], timeout: float, payload: bytes | None = None) -> dict[str, Any]:
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            if payload is not None:
                self._connection.send_bytes(payload)
            if not self._connection.poll(timeout):
                raise LostError(f"no answer from {self.name} within {timeout:.0f} seconds")
            answer = json.loads(self._connection.recv_bytes(_MOST_ANSWER))
        except (OSError, EOFError) as error:
            raise LostError(f"lost {self.name}: {error or 'it closed the connection'}") from error
        except ValueError as error:
            raise BoardError(f"{self.name} answered what is not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise BoardError(f"{self.name} answered what makes no sense")
        return answer

    def close(self) -> None:
        self._connection.close()
