"""What a server does not let anybody do, and what it says then."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from compiler.runtime import serve
from compiler.runtime.serve import MOST_REQUEST, WORKER, Server
from compiler.target import load_target
from compiler.tune.boards import BoardError, LostError
from compiler.tune.remote import RemoteBoard, _connect

TOKEN = b"a token that nobody guesses"
# A worker that does what a test says in place of measuring.
STUB = f"""\
import sys, time, os, ctypes
sys.path.insert(0, {str(WORKER.parent)!r})
import measure
def instead(path, threads, rounds, seconds):
    {{body}}
measure.measure = instead
measure.main()
"""
ANSWER = '{"versions": [{"nanoseconds": [[1]], "differences": {"y": 0.0}}] * 2}'


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server whose worker runs some Python; nothing may go wrong in its threads."""
    servers: list[Server] = []
    faults: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", faults.append)

    def begin(body: str = f"return {ANSWER}", memory: int = 1 << 30) -> Server:
        (tmp_path / "stub.py").write_text(STUB.format(body=body))
        monkeypatch.setattr(serve, "WORKER", tmp_path / "stub.py")
        server = Server("127.0.0.1", 0, TOKEN, memory)
        threading.Thread(target=server.serve, daemon=True).start()
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.close()
    assert not faults


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    (tmp_path / "trial.so").write_bytes(b"what the stub does not read")
    return tmp_path / "trial.so"


def board_of(server: Server) -> RemoteBoard:
    return RemoteBoard(f"127.0.0.1:{server.port}", TOKEN, 1, load_target("host"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.abort()", "crashed"),
        ("ctypes.CDLL(None).sleep(600)", "never ended"),
        ("return bytearray(4 << 30) and {}", "MemoryError"),
        ("raise ValueError('it has no steps')", "it has no steps"),
        ("os._exit(0)", "crashed"),
        ("return {'versions': 3}", "makes sense"),
        ("return {'versions': []}", "makes sense"),
        ("return ['versions']", "crashed"),
    ],
)
def test_whatever_a_trial_does_the_next_is_measured(
    body: str, words: str, start: Callable[..., Server], trial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "MOST_SECONDS", 2.0 if "sleep" in body else 60.0)
    monkeypatch.setattr(serve, "_GRACE", 0.0)
    board = board_of(start(f"if os.path.exists({str(tmp_path / 'bad')!r}): {body}\n    return {ANSWER}"))
    (tmp_path / "bad").touch()
    with pytest.raises(BoardError, match=words):
        board.measure(trial, 1, 1.0)
    (tmp_path / "bad").unlink()
    monkeypatch.setattr(serve, "MOST_SECONDS", 60.0)
    assert len(board.measure(trial, 1, 1.0)) == 2
    board.close()


def test_jobs_are_taken_one_at_a_time(start: Callable[..., Server], trial: Path, tmp_path: Path) -> None:
    events = tmp_path / "events"
    body = f"with open({str(events)!r}, 'a') as file: file.write('('); file.flush(); time.sleep(0.1); file.write(')')"
    server = start(f"{body}\n    return {ANSWER}")
    boards = [board_of(server) for _ in range(3)]
    with trial.open("wb") as file:
        file.truncate(16 << 20)  # more than the system takes before the server does
    threads = [threading.Thread(target=board.measure, args=(trial, 1, 30.0)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events.read_text() == "()()()"


def test_an_artifact_that_is_too_large(start: Callable[..., Server], trial: Path) -> None:
    server = start(memory=256 << 20)
    board = board_of(server)
    with trial.open("wb") as file:
        file.truncate(129 << 20)
    with pytest.raises(BoardError, match=r"129 MiB .* more than 128 MiB"):
        board.measure(trial, 1, 1.0)
    board._most_artifact = 1 << 30  # a client that does not ask
    with pytest.raises(BoardError, match="more than 128 MiB"):
        board.measure(trial, 1, 1.0)
    trial.write_bytes(b"small")
    assert board_of(server).measure(trial, 1, 30.0)


@pytest.mark.parametrize("size", [100, 64 << 20])  # all of it sent before the answer comes, and not
def test_a_full_disk_of_the_board_is_no_fault_of_a_schedule(
    size: int, start: Callable[..., Server], trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = board_of(start())

    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(serve.tempfile, "mkdtemp", full)
    with trial.open("wb") as file:
        file.truncate(size)
    with pytest.raises(LostError, match="cannot write temporary files: No space left"):
        board.measure(trial, 1, 1.0)


@pytest.mark.parametrize("sent", [b"", b"\0", struct.pack("!i", 400), struct.pack("!i", 400) + b'{"operation":'])
def test_half_a_request_keeps_nobody_waiting(
    sent: bytes, start: Callable[..., Server], trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_STALLED_SECONDS", 1)
    server = start()
    with _connect("127.0.0.1", server.port, TOKEN) as silent:
        os.write(silent.fileno(), sent)
        assert board_of(server).measure(trial, 1, 30.0)
        if sent:
            assert "stalled" in json.loads(silent.recv_bytes())["error"]
            with pytest.raises(EOFError):
                silent.recv_bytes()


def test_half_an_artifact_keeps_others_waiting_for_a_while_only(
    start: Callable[..., Server], trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_STALLED_SECONDS", 1)
    server = start()
    with _connect("127.0.0.1", server.port, TOKEN) as silent:
        silent.send_bytes(b'{"operation": "trial", "threads": 1, "rounds": 1, "seconds": 1}')
        os.write(silent.fileno(), struct.pack("!i", 1000) + b"half")
        assert board_of(server).measure(trial, 1, 30.0)
        assert "stalled" in json.loads(silent.recv_bytes())["error"]


def test_too_many_tuners_are_turned_away(start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_MOST_CLIENTS", 2)
    server = start()
    boards = [board_of(server) for _ in range(2)]
    with pytest.raises((EOFError, OSError)):
        _connect("127.0.0.1", server.port, TOKEN)
    boards.pop().close()
    for _ in range(100):  # until the server has seen that
        try:
            board_of(server).close()
            break
        except Exception:
            time.sleep(0.05)
    else:
        pytest.fail("the place of who left is not free")


def test_mutated_messages_are_answered_or_cut_off(
    start: Callable[..., Server], trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_STALLED_SECONDS", 1)
    server, rng = start(), random.Random(0)
    requests = [
        b'{"operation": "info"}',
        b'{"operation": "trial", "threads": 1, "rounds": 3, "seconds": 0.5}',
        b'{"operation": "compare", "threads": 1, "seconds": 0.5}',
    ]
    errors = 0
    for number in range(300):
        with _connect("127.0.0.1", server.port, TOKEN) as client:
            message = mutated(rng, rng.choice(requests))
            frame = struct.pack("!i", len(message))
            if number % 10 == 0:
                frame = rng.randbytes(4)
            answer = talk(client, frame + message, [b"an artifact"] * rng.randrange(3))
        if answer is not None:
            errors += "error" in answer
            assert isinstance(answer, dict) and ("error" in answer or "protocol" in answer or "versions" in answer)
    assert errors > 150
    assert board_of(server).measure(trial, 1, 30.0)


@pytest.mark.parametrize("says", [b"", b"\0\0\0\4what", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 300])
def test_who_does_not_prove_the_token_is_cut_off(says: bytes, start: Callable[..., Server], trial: Path) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), 20) as stranger:
        stranger.recv(100)  # the challenge
        stranger.sendall(says)
        stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # which is cut off too
            while stranger.recv(100):
                pass
    assert board_of(server).measure(trial, 1, 30.0)


def mutated(rng: random.Random, request: bytes) -> bytes:
    data = bytearray(request)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[place] = rng.randrange(256)
            case 1:
                del data[place : place + rng.randrange(1, 9)]
                data = data or bytearray(b"0")
            case 2:
                data[place:place] = rng.choice([b"[" * 2000, b"-", b"1e999", b"null", b"NaN", b"\xff", b'"', b"{}"])
            case 3:
                data = bytearray(
                    data.replace(rng.choice([b"1", b"0.5", b"3"]), rng.choice([b"true", b"0", b"-1", b'"x"']))
                )
            case 4:
                data += b" " * rng.choice([1, MOST_REQUEST])
    return bytes(data)


def talk(client: Connection, first: bytes, artifacts: list[bytes]) -> Any:
    """What the server answers to a message; None if it hangs up."""
    try:
        os.write(client.fileno(), first)
        for artifact in artifacts:
            client.send_bytes(artifact)
        with socket.socket(fileno=os.dup(client.fileno())) as copy:
            copy.shutdown(socket.SHUT_WR)  # that is all, even if the server waits for more
        assert client.poll(20), "no answer, and not cut off"
        return json.loads(client.recv_bytes())
    except (EOFError, ConnectionError):
        return None


def test_a_worker_ends_with_who_started_it(tmp_path: Path) -> None:
    """Even in a kernel that never ends."""
    (tmp_path / "stub.py").write_text(STUB.format(body="os.write(2, b'in it'); ctypes.CDLL(None).sleep(600)"))
    worker = subprocess.Popen(
        [sys.executable, tmp_path / "stub.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert worker.stdin is not None and worker.stderr is not None
    request = {"operation": "trial", "paths": ["x"], "threads": 1, "rounds": 1, "seconds": 1}
    worker.stdin.write(json.dumps(request).encode() + b"\n")
    worker.stdin.flush()
    assert worker.stderr.read(5) == b"in it"
    worker.stdin.close()
    worker.wait(20)


def test_what_a_killed_server_left_goes(start: Callable[..., Server], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(serve.tempfile, "tempdir", str(tmp_path))
    for name, age in (("edgec-serve-old", 7200), ("edgec-serve-new", 60), ("other", 7200)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.so").touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    start()
    assert {path.name for path in tmp_path.iterdir()} >= {"edgec-serve-new", "other"}
    assert not (tmp_path / "edgec-serve-old").exists()
