"""Two 64-bit ARM boards, emulated, of which one is killed while it measures."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import onnx
import pytest

from compiler import compile_model
from compiler.cli import main
from compiler.runtime.serve import WORKER
from compiler.target import load_target
from compiler.tune.records import CHOICE, Log
from compiler.tune.trials import Settings
from tests.executors import executor_or_skip
from tests.tune.trials import small_network

pytestmark = pytest.mark.arm

TARGET = "raspberry-pi-5"
# What starts the server's worker has to be the emulator too.
SERVE = "import sys; sys.executable, folder = sys.argv[1:3]; sys.path.insert(0, folder); import serve; "


class Board:
    """`edgec device serve` in the emulator, with a folder for temporary files of its own."""

    def __init__(self, folder: Path, token: Path) -> None:
        self.scratch = folder / "scratch"
        self.scratch.mkdir(parents=True)
        python = folder / "python"
        command = executor_or_skip(load_target(TARGET)).python
        python.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        python.chmod(0o755)
        serve = SERVE + "serve.main(sys.argv[3:])"
        arguments = [python, "-B", "-c", serve, python, WORKER.parent, "--port", "0", "--token-file", token]
        self.process = subprocess.Popen(
            list(map(str, arguments)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(self.scratch)},
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip().rpartition(" ")[2]

    def is_measuring(self) -> bool:
        return any(self.scratch.glob("edgec-serve-*/*.so"))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def is_gone(self) -> bool:
        """Whether none of its processes is left."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"TMPDIR={self.scratch}".encode() in (folder / "environ").read_bytes():
                    return False
            except OSError:  # of somebody else, or gone
                continue
        return True


def test_a_board_is_killed_while_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("a token that nobody guesses")
    onnx.save(small_network(), tmp_path / "net.onnx")
    boards = [Board(tmp_path / name, tmp_path / "token") for name in ("one", "two")]
    log = Log(tmp_path / "logs", TARGET)

    def is_searching() -> bool:
        return any(record.rounds and record.work["family"] != CHOICE for record in log.read())

    def kill_in_the_middle() -> None:
        end = time.monotonic() + 120
        while not (is_searching() and boards[0].is_measuring()) and time.monotonic() < end:
            time.sleep(0.01)
        boards[0].kill()

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    monkeypatch.setattr("compiler.tune.compare._SECONDS", 0.3)
    addresses = [argument for board in boards for argument in ("--rpc", board.address)]
    arguments = [tmp_path / "net.onnx", "--target", TARGET, "--budget", "30s", "--tuning-logs", tmp_path / "logs"]
    arguments += [*addresses, "--token-file", tmp_path / "token", "--json"]
    monkeypatch.setattr(sys, "argv", ["edgec", "tune", *map(str, arguments)])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
        killer.join()
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        time.sleep(0.5)
        assert boards[0].is_gone() and boards[1].process.poll() is None
    finally:
        killer.join()
        for board in boards:
            board.kill()

    result = json.loads(printed.out)
    first, second = result["boards"]
    assert printed.err.count(f"lost {boards[0].address}") == 1
    assert first["lost"] and first["measurements"] and not second["lost"] and second["measurements"]
    searched = [r for r in log.read("trial") if r.work["family"] != CHOICE and 0 < r.rounds <= Settings.rounds]
    failed = [r for r in log.read("trial") if r.failure]
    assert len(searched) >= result["trials"] - len(failed) > 0
    assert not [record for record in failed if "lost" in record.failure or "crash" in record.failure]
    compiled = compile_model(tmp_path / "net.onnx", TARGET, out=tmp_path / "net.so", tuning_logs=tmp_path / "logs")
    assert compiled.verified == "passed"
