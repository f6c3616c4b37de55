"""Sessions on one machine do not measure at the same time."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from compiler.tune.boards import BoardError, LocalBoard
from compiler.tune.turns import own_turn

_HOLDER = """
from compiler.tune.turns import own_turn
with own_turn(lambda: None):
    print("mine", flush=True)
    input()
"""


class FakeWorker:
    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        return {"error": "nothing is measured"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def test_a_board_waits_for_its_turn_and_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    waits, worker = threading.Event(), FakeWorker()

    def tell(text: str) -> None:
        told.append(text)
        waits.set()

    board = LocalBoard(1, tell)
    monkeypatch.setattr(board, "_worker", worker)

    def measure() -> None:
        with pytest.raises(BoardError, match="nothing is measured"):
            board.measure(tmp_path / "trial.so", 1, 1.0)

    for count in (1, 2):
        with own_turn(lambda: None):
            session = threading.Thread(target=measure)
            session.start()
            if count == 1:
                assert waits.wait(60)
            assert len(worker.requests) == count - 1
        session.join()
        assert len(worker.requests) == count and len(told) == 1
    measure()
    assert len(told) == 1


def test_a_process_that_is_killed_leaves_its_turn_to_others() -> None:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "mine\n"
    with own_turn(holder.kill):  # waits for it
        assert holder.wait() != 0
    with own_turn(lambda: pytest.fail("nobody has it")):
        pass


def test_nowhere_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with own_turn(lambda: pytest.fail("nobody measures")):
        pass
