"""Boards of TVM's RPC tracker: a real tracker and real servers on loopback; none of them is trusted to be there."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import onnx
import psutil
import pytest
from click.testing import CliRunner

from compiler import compile_model
from compiler.cli.tune import command
from compiler.errors import UserError
from compiler.target import load_target
from compiler.tune import tracker
from compiler.tune.boards import BoardError, LocalBoard, LostError
from compiler.tune.fleet import Fleet
from compiler.tune.tracker import TrackerBoard, tracker_boards
from tests.networks import elementwise
from tests.tune.trials import small_trial

pytest.importorskip("tornado", reason="TVM's tracker needs tornado")
KEY = "board"


@contextmanager
def process(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program of TVM, and the port that it says it listens on; ended with all its children."""
    command = [sys.executable, "-m", f"tvm.exec.{module}", "--host", "127.0.0.1", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        try:
            assert running.stderr is not None
            found = next(filter(None, (re.search(r"bind to 127\.0\.0\.1:(\d+)", line) for line in running.stderr)))
            threading.Thread(target=running.stderr.read, daemon=True).start()  # so that it never has to wait
            yield running, int(found[1])
        finally:
            kill(running)


def kill(running: subprocess.Popen[str]) -> None:
    """Ends it with all that it started, some of which are in sessions of their own."""
    with suppress(psutil.NoSuchProcess):
        for one in [*psutil.Process(running.pid).children(recursive=True), running]:
            with suppress(psutil.NoSuchProcess):
                one.kill()


@contextmanager
def new_tracker() -> Iterator[str]:
    with process("rpc_tracker", "--port", str(free_port()), "--port-end", "65535") as (_, port):
        end = time.monotonic() + 30
        while time.monotonic() < end:  # it says so before it listens
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a tracker with one board."""
    with new_tracker() as address, server(address):
        yield address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(address: str, key: str = KEY) -> Iterator[subprocess.Popen[str]]:
    """A board, once the tracker knows it."""
    known = keys_of(address).count(key)
    arguments = ("--tracker", address, "--key", key, "--port", str(free_port()), "--port-end", "65535")
    with process("rpc_server", *arguments) as (running, _):
        wait_for(address, key, known + 1)
        yield running
    wait_for(address, key, known)


def keys_of(address: str) -> list[str]:
    host, port = address.split(":")
    return tracker._Tracker((host, int(port)), KEY).keys()


def wait_for(address: str, key: str, count: int) -> None:
    end = time.monotonic() + 30
    while keys_of(address).count(key) != count:
        assert time.monotonic() < end, f"the tracker does not know {count} boards of {key}"
        time.sleep(0.1)


def boards_at(address: str) -> list[TrackerBoard]:
    return tracker_boards(address, KEY, 1, load_target("host"))


def test_it_measures_as_this_machine_does(address: str, tmp_path: Path) -> None:
    trial, here = small_trial(tmp_path), LocalBoard(1)
    expected = here.measure(trial, 5, 5.0)
    here.close()
    (board,) = boards_at(address)
    found = board.measure(trial, 5, 5.0)
    again = board.measure(trial, 3, 5.0)  # the board is free again after each
    request = {"operation": "trial", "threads": 1, "rounds": 1, "seconds": 1.0}
    assert {"temperature", "throttled"} <= board.run(request, [trial]).keys()
    assert len(found) == len(again) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.seconds.shape == other.seconds.shape and (one.seconds > 0).all()
        assert one.differences == other.differences
    assert again[0].seconds.shape == (3, 1)


def test_it_compares_models(address: str, tmp_path: Path) -> None:
    onnx.save(elementwise(), tmp_path / "net.onnx")
    artifact = compile_model(tmp_path / "net.onnx", out=tmp_path / "net.so", tuning_logs=tmp_path / "none").path
    (board,) = boards_at(address)
    found = board.compare(artifact, artifact, 0.1)
    assert all(median > 0 for median in found.medians) and found.ratio > 0 and found.kernels


def test_several_boards_share_the_work(address: str, tmp_path: Path) -> None:
    trial = small_trial(tmp_path)
    with server(address):
        boards = boards_at(address)
        assert len(boards) == 2 and len({board.name for board in boards}) == 2
        done: list[str] = []
        Fleet(boards).run(range(4), lambda job, board: done.append(board.measure(trial, 3, 5.0) and board.name), fail)
    assert len(done) == 4


def fail(job: Any, reason: str) -> None:
    raise AssertionError(f"{job}: {reason}")


@pytest.mark.parametrize("damage", ["crash", "hang", "not an artifact"])
def test_a_trial_that_fails_leaves_the_board(
    damage: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server survives: TVM's ends with the process of a session that dies."""
    trial = small_trial(tmp_path)
    scripts = {
        "crash": "import os\nos.abort()\n",
        "hang": "import time\ntime.sleep(60)\n",
        "not an artifact": tracker._SENT[0].read_text(),
    }
    (board,) = boards_at(address)
    with monkeypatch.context() as patch:
        script = tmp_path / "job.py"
        script.write_text(scripts[damage])
        patch.setattr(tracker, "_SENT", (script, *tracker._SENT[1:]))
        patch.setattr(tracker, "_JOB_SECONDS", 1.0 if damage == "hang" else 20.0)
        bad = tmp_path / "bad.so"
        bad.write_bytes(b"no artifact" if damage == "not an artifact" else trial.read_bytes())
        expected = {"crash": "crashed, with status 134", "hang": "never ended", "not an artifact": "edgec"}
        with pytest.raises(BoardError, match=expected[damage]) as raised:
            board.measure(bad, 3, 5.0)
        assert not isinstance(raised.value, LostError)
    assert len(board.measure(trial, 3, 5.0)) == 2


def test_a_server_that_is_lost_in_mid_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trial is done by another, and the fleet is one board smaller."""
    trial, lost = small_trial(tmp_path), []
    with new_tracker() as address, server(address) as first:
        (board,) = boards_at(address)

        class Other(LocalBoard):
            def measure(self, trial: Path, rounds: int, seconds: float) -> Any:
                taken.wait(30)  # until the lost board has a trial
                return super().measure(trial, rounds, seconds)

        taken = threading.Event()

        def talk(self: TrackerBoard, *given: Any) -> bytes:
            threading.Timer(0.5, lambda: (kill(first), taken.set())).start()
            return original(self, *given)

        original = TrackerBoard._talk
        slow = tmp_path / "job.py"
        slow.write_text("import time\ntime.sleep(60)\n")
        monkeypatch.setattr(tracker, "_SENT", (slow, *tracker._SENT[1:]))
        monkeypatch.setattr(TrackerBoard, "_talk", talk)
        other = Other(1)
        done: list[str] = []
        fleet = Fleet([board, other], lambda name, why: lost.append((name, why)))
        fleet.run([1, 2], lambda job, board: done.append(board.measure(trial, 3, 5.0) and board.name), fail)
        other.close()
    assert done == ["this machine"] * 2 and fleet.boards == [other]
    assert len(lost) == 1 and lost[0][0] == board.name


def test_a_board_that_others_keep(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tvm import rpc

    (board,) = boards_at(address)
    host, port = address.split(":")
    taken = rpc.connect_tracker(host, int(port)).request(KEY)
    monkeypatch.setattr(tracker, "_WAIT_SECONDS", 1.0)
    with pytest.raises(LostError, match="no board of the key 'board' was free within 1 seconds"):
        board.run({})
    del taken


def test_a_key_that_no_board_has(address: str) -> None:
    with pytest.raises(UserError, match="no board of the key 'other': it knows board"):
        tracker_boards(address, "other", 1, load_target("host"))
    with new_tracker() as empty, pytest.raises(UserError, match="'board': no board has registered"):
        boards_at(empty)


def test_a_board_of_another_architecture(address: str) -> None:
    other = "raspberry-pi-5" if load_target("host").machine == "x86_64" else "x86-64-v3"
    with pytest.raises(UserError, match="does not load code for") as raised:
        tracker_boards(address, KEY, 1, load_target(other))
    assert "--target" in str(raised.value)


def test_nobody_listens() -> None:
    with pytest.raises(UserError, match=r"no TVM RPC tracker at 127\.0\.0\.1:1: Connection refused"):
        boards_at("127.0.0.1:1")


@pytest.mark.parametrize("given", ["", "localhost", "localhost:x", ":9190", "localhost:0"])
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(UserError, match="not an address"):
        boards_at(given)


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH\r\n", b"\x71\xf2\x02\x00\xff\xff\xff\x7f"])
def test_something_else_listens(says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(says)
                connection.recv(4)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UserError, match="no TVM RPC tracker"):
            boards_at(f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize("given", [["--tracker", "localhost:1"], ["--key", "board"]])
def test_the_command_wants_both_options(given: list[str]) -> None:
    done = CliRunner().invoke(command, ["net.onnx", *given])
    assert done.exit_code == 2 and "--tracker and --key go together" in done.output
