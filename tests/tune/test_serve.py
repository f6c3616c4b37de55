"""The server of a board: it measures what a tuner with the right token sends, whatever that does."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.errors import UserError
from compiler.runtime.serve import Server, main, read_token
from compiler.target import load_target
from compiler.tune.boards import BoardError, LocalBoard, LostError
from compiler.tune.fleet import Fleet
from compiler.tune.remote import RemoteBoard
from tests.tune.trials import small_trial

TOKEN = b"a token that nobody guesses"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("127.0.0.1", 0, TOKEN)
    threading.Thread(target=made.serve, daemon=True).start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_trial(tmp_path_factory.mktemp("trial"))


def test_a_trial_gives_the_same_here_and_there(server: Server, trial: Path) -> None:
    target = load_target("host")
    remote, local = RemoteBoard(f"127.0.0.1:{server.port}", TOKEN, 1, target), LocalBoard(1)
    for board in (remote, local):
        first, other = board.measure(trial, 5, 5.0)
        for times in (first, other):
            assert times.seconds.shape == (5, 1) and (times.seconds > 0).all()
        assert set(first.differences.values()) == {0.0} and max(other.differences.values()) < 1e-5
        board.close()


def test_another_token_is_refused(server: Server) -> None:
    with pytest.raises(UserError, match="another token"):
        RemoteBoard(f"127.0.0.1:{server.port}", b"another token, as long", 1, load_target("host"))


def test_a_board_of_another_architecture_is_refused(server: Server) -> None:
    with pytest.raises(UserError, match="riscv64"):
        RemoteBoard(f"127.0.0.1:{server.port}", TOKEN, 1, load_target("generic-riscv64"))


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:0", "127.0.0.1:x", ":9190", "127.0.0.1:99999"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(UserError, match="not an address"):
        RemoteBoard(address, TOKEN, 1, load_target("host"))


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="cannot reach"):
        RemoteBoard(f"127.0.0.1:{port}", TOKEN, 1, load_target("host"))


def test_what_is_no_artifact_is_answered(server: Server, trial: Path, tmp_path: Path) -> None:
    board = RemoteBoard(f"127.0.0.1:{server.port}", TOKEN, 1, load_target("host"))
    bad = tmp_path / "bad.so"
    bad.write_bytes(b"not an artifact")
    with pytest.raises(BoardError, match=r"bad\.so|edgec"):
        board.measure(bad, 5, 1.0)
    assert board.measure(trial, 3, 5.0)
    board.close()


def test_someone_silent_keeps_nobody_waiting(server: Server, trial: Path) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        begin = time.monotonic()
        board = RemoteBoard(f"127.0.0.1:{server.port}", TOKEN, 1, load_target("host"))
        assert board.measure(trial, 3, 5.0) and time.monotonic() - begin < 60
        board.close()


def test_a_server_that_ends_is_a_lost_board(trial: Path) -> None:
    server = Server("127.0.0.1", 0, TOKEN)
    threading.Thread(target=server.serve, daemon=True).start()
    board = RemoteBoard(f"127.0.0.1:{server.port}", TOKEN, 1, load_target("host"))
    board._connection.close()
    with pytest.raises(LostError):
        board.measure(trial, 3, 5.0)
    server.close()


def test_work_of_a_lost_board_is_done_by_another() -> None:
    class Fake:
        threads = 1

        def __init__(self, name: str, fails: bool) -> None:
            self.name, self.fails = name, fails

        def close(self) -> None:
            pass

    fleet = Fleet([Fake("good", False), Fake("bad", True)])  # type: ignore[list-item]
    done: list[int] = []

    def work(job: int, board: Fake) -> None:
        if board.fails:
            raise LostError("gone")
        if job == 3:
            raise BoardError("it crashed")
        done.append(job)

    failed: list[int] = []
    fleet.run(range(10), work, lambda job, reason: failed.append(job))  # type: ignore[arg-type]
    assert sorted(done) == [0, 1, 2, 4, 5, 6, 7, 8, 9] and failed == [3]
    fleet.boards[0].fails = True  # type: ignore[attr-defined]
    with pytest.raises(LostError, match="no board is left"):
        fleet.run([1], work, lambda job, reason: None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupt_waits_for_what_is_measured(count: int) -> None:
    """Else a board's answer would be taken for that to the next request."""
    done: list[int] = []

    def work(job: int, board: object) -> None:
        if job == 0:
            threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        time.sleep(0.5)
        done.append(job)

    fleet = Fleet([LocalBoard(1) for _ in range(count)])
    with pytest.raises(KeyboardInterrupt):
        fleet.run(range(9), work, lambda job, reason: None)
    assert sorted(done) == list(range(count))


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_boards() -> None:
    """Between jobs it is only noted: TVM's callbacks are no place for it."""
    done: list[int] = []
    fleet = Fleet([LocalBoard(1)])
    with fleet.interrupts:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            fleet.run([1], lambda job, board: done.append(job), lambda job, reason: None)
        fleet.run([2], lambda job, board: done.append(job), lambda job, reason: None)
        assert done == [2]
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):  # who asks twice wants an end at once
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_address_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("a token that is long enough")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["--token-file", str(tmp_path / "token"), "--port", str(port)])
    assert ended.value.code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


def test_a_short_token_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(ValueError, match="at least"):
        read_token(tmp_path / "token")
    with pytest.raises(SystemExit):
        main(["--token-file", str(tmp_path / "token")])
    assert "at least" in capsys.readouterr().err
