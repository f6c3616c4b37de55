"""`edgec tune` with input at fault: status 2, one message that says what to do, and nothing written."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import onnx
import pytest

from compiler.cli import main, tune
from compiler.runtime.serve import Server, Worker
from compiler.target import load_target
from compiler.tune import remote
from compiler.tune.records import FORMAT, Log
from tests.networks import elementwise
from tests.tune.records import record
from tests.tune.trials import small_network

TOKEN = "a token that nobody guesses"


@dataclass
class Place:
    """Files of a test."""

    folder: Path

    def __post_init__(self) -> None:
        onnx.save(small_network(), self.model)
        self.token.write_text(TOKEN)

    @property
    def model(self) -> Path:
        return self.folder / "net.onnx"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def token(self) -> Path:
        return self.folder / "token"

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


Refused = Callable[..., str]


@pytest.fixture
def refused(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that fails; what it prints."""

    def run(*arguments: object) -> str:
        before = place.files()
        command = ["edgec", "tune", str(place.model), "--tuning-logs", str(place.logs), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        check(ended.value.code, printed.out, printed.err)
        assert place.files() == before, "something was written"
        return printed.err

    return run


def check(status: Any, out: str, err: str) -> None:
    assert status == 2, err
    assert not out and "Traceback" not in err
    assert err.lower().count("error: ") == 1, err


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server on this machine."""
    server = Server("127.0.0.1", 0, TOKEN.encode())
    threading.Thread(target=server.serve, daemon=True).start()
    yield server.port
    server.close()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_an_unknown_target(refused: Refused) -> None:
    assert "raspberry-pi-5" in refused("--target", "raspbery-pi-5")


def test_a_target_that_is_not_this_machine(place: Place, refused: Refused) -> None:
    """It is no fault of the schedules: they would be told apart from others for good."""
    other = "raspberry-pi-5" if platform.machine() == "x86_64" else "x86-64-v2"
    said = refused("--target", other)
    assert "cannot be measured on this machine" in said and "--rpc" in said and "--static" in said
    assert not place.logs.exists()


def test_more_threads_than_cores(place: Place, port: int, refused: Refused) -> None:
    assert "this machine has" in refused("--threads", "9999")
    said = refused("--threads", "9999", "--rpc", f"127.0.0.1:{port}", "--token-file", place.token)
    assert f"127.0.0.1:{port} has" in said and "for 9999 threads" in said


def test_no_place_for_the_report(place: Place, refused: Refused) -> None:
    """Said before the search."""
    assert "cannot write the output" in refused("--report", place.folder / "missing" / "a.html")
    os.mkfifo(place.folder / "pipe")
    assert "is no plain file" in refused("--report", place.folder / "pipe")
    assert not place.logs.exists()


@pytest.mark.parametrize(
    "extra, name", [("net.onnx", "a model"), ("--target raspberry-pi-5", "--target"), ("--static", "--static")]
)
def test_what_looking_after_records_does_not_take(extra: str, name: str) -> None:
    with pytest.raises(click.UsageError, match=f"leave {name} out"):
        tune.command.main(["--list", *extra.split()], standalone_mode=False)


def test_output_that_goes_nowhere(place: Place) -> None:
    command = [sys.executable, "-m", "compiler", "tune", "--list", "--tuning-logs", str(place.logs)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    check(done.returncode, "", done.stderr)
    assert "is full" in done.stderr


@pytest.mark.parametrize("budget", ["", "0s", "-5m", "ten minutes", "10"])
def test_what_is_no_budget(budget: str, refused: Refused) -> None:
    assert "--budget" in refused("--budget", budget)


def test_a_budget_in_which_nothing_can_be_measured(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured until then is kept: it is there for the next time."""
    command = ["edgec", "tune", str(place.model), "--tuning-logs", str(place.logs), "--budget", "0.01s", "--json"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    check(ended.value.code, printed.out, printed.err)
    assert "the budget of 0 s is too small" in printed.err and "give at least" in printed.err
    assert Log(place.logs, "host").read("trial") and not Log(place.logs, "host").read("verdict")


def test_no_board_is_left(
    place: Place, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured before is kept."""
    jobs: list[dict[str, Any]] = []
    original = Worker.run

    def run(self: Worker, request: dict[str, Any]) -> dict[str, Any]:
        jobs.append(request)
        if len(jobs) > 2:
            raise OSError("power is gone")
        return original(self, request)

    monkeypatch.setattr(Worker, "run", run)
    command = ["edgec", "tune", str(place.model), "--tuning-logs", str(place.logs), "--budget", "60s", "--json"]
    monkeypatch.setattr(sys, "argv", [*command, "--rpc", f"127.0.0.1:{port}", "--token-file", str(place.token)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    check(ended.value.code, printed.out, printed.err)
    assert f"no board is left: lost 127.0.0.1:{port}" in printed.err and "run again" in printed.err
    assert Log(place.logs, "host").read("trial")


def test_a_board_of_another_architecture(place: Place, port: int, refused: Refused) -> None:
    target = "generic-riscv64"
    machine = load_target("host").machine
    said = refused("--target", target, "--rpc", f"127.0.0.1:{port}", "--token-file", place.token)
    assert f"127.0.0.1:{port} is {machine}, and {target} is riscv64" in said


def test_another_token(place: Place, port: int, refused: Refused) -> None:
    place.token.write_text("another token, as long")
    assert "knows another token" in refused("--rpc", f"127.0.0.1:{port}", "--token-file", place.token)


def test_no_token(place: Place, port: int, refused: Refused) -> None:
    assert "--token-file" in refused("--rpc", f"127.0.0.1:{port}")
    assert "--rpc" in refused("--token-file", place.token)
    missing = place.folder / "missing"
    assert "cannot read the token" in refused("--rpc", f"127.0.0.1:{port}", "--token-file", missing)
    place.token.write_text("short\n")
    assert "at least 16 characters" in refused("--rpc", f"127.0.0.1:{port}", "--token-file", place.token)


@pytest.mark.parametrize("address", ["", "board", "board:", ":9190", "board:x", "board:0", "board:70000", "board:-1"])
def test_what_is_no_address(address: str, place: Place, refused: Refused) -> None:
    assert "give HOST:PORT" in refused("--rpc", address, "--token-file", place.token)


def test_nobody_there(place: Place, free_port: int, refused: Refused) -> None:
    said = refused("--rpc", f"127.0.0.1:{free_port}", "--token-file", place.token)
    assert f"cannot reach 127.0.0.1:{free_port}: Connection refused" in said


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\4what", b"\0\0"])
def test_somebody_else_there(says: bytes, place: Place, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: list[socket.socket] = []

        def talk() -> None:
            found.append(listener.accept()[0])
            found[0].sendall(says)  # and keeps the line

        threading.Thread(target=talk, daemon=True).start()
        port = listener.getsockname()[1]
        said = refused("--rpc", f"127.0.0.1:{port}", "--token-file", place.token)
        assert f"127.0.0.1:{port}" in said and ("cannot reach" in said or "another token" in said)
        found[0].close()


def test_a_board_with_the_server_of_another_edgec(
    place: Place, port: int, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PROTOCOL", 99)
    assert "another edgec" in refused("--rpc", f"127.0.0.1:{port}", "--token-file", place.token)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps({**json.loads(record().to_line()), "format": FORMAT + 1}) + "\n", "written by a newer edgec"),
        ("garbage\n", "not a tuning record"),
        ("\0\xff" * 3000 + "\n", "not a tuning record"),
        (record().to_line() + '{"format": 1}\n', "jsonl:2"),
    ],
)
def test_a_damaged_log(content: str, words: str, place: Place, refused: Refused) -> None:
    (place.logs / "host").mkdir(parents=True)
    (place.logs / "host" / "packed.jsonl").write_bytes(content.encode("latin-1"))
    said = refused("--budget", "10s")
    assert words in said and "remove the line" in said


def test_logs_that_are_no_folder(place: Place, refused: Refused) -> None:
    place.logs.write_text("a file")
    assert "cannot write tuning records: Not a directory" in refused("--budget", "10s")


IN_A_SMALL_DISK = """\
mount -t tmpfs -o size={size},mode=700 none {mounted} && {prepare} && exec {python} -m compiler tune {arguments}
"""


@pytest.mark.parametrize(
    ("what", "size", "prepare", "words"),
    [
        (
            "logs",
            "16k",
            "head -c 20k /dev/zero > {mounted}/fill 2> /dev/null; true",
            "cannot write tuning records: No space",
        ),
        ("logs", "16k", "mount -o remount,ro none {mounted}", "cannot write tuning records: Read-only"),
        ("scratch", "4k", "true", "cannot write temporary files: No space left on device"),
        ("scratch", "64k", "true", "cannot write temporary files: No space left on device"),
        ("cache", "8k", "true", "compiled objects are not kept: No space left on device"),
    ],
)
def test_a_full_disk(what: str, size: str, prepare: str, words: str, place: Place) -> None:
    """Each folder in turn is on a disk that has little room. The cache is done without."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk (unshare -rm)")
    folders = {name: place.folder / name for name in ("logs", "scratch", "cache")}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    if what == "cache":
        onnx.save(elementwise(), place.model)  # tunes in no time
    mounted = folders[what]
    script = IN_A_SMALL_DISK.format(
        size=size,
        mounted=mounted,
        prepare=prepare.format(mounted=mounted),
        python=sys.executable,
        arguments=f"{place.model} --tuning-logs {place.logs} --json --budget {30 if what == 'cache' else 6}s",
    )
    environment = {**os.environ, "TMPDIR": str(folders["scratch"])}
    if what != "logs":
        environment["XDG_CACHE_HOME"] = str(folders["cache"])
    done = subprocess.run([unshare, "-rm", "sh", "-c", script], env=environment, capture_output=True, text=True)
    assert words in done.stderr, done.stderr
    if what != "cache":
        check(done.returncode, done.stdout, done.stderr)
    else:
        assert done.returncode == 0 and json.loads(done.stdout)["trials"], done.stderr
    assert not list(folders["scratch"].iterdir())
    assert all(path.stat().st_size == 0 for path in place.logs.rglob("*.jsonl")) or what == "cache"
