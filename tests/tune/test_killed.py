"""A tuner that is killed at any moment leaves a log that is whole, and the next one goes on where it was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest

from compiler import compile_model
from compiler.frontend.prepare import load_model
from compiler.pipeline import lower_model, resolve
from compiler.target import load_target
from compiler.tune.records import CHOICE, Log
from compiler.tune.space import space_of
from compiler.tune.trials import Settings
from compiler.tune.workloads import workloads_of
from tests.tune.trials import small_network

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc to look for processes in")

KILLS = 20


class Nursery:
    """Starts tuners that measure here; see nursery.py."""

    def __init__(self, folder: Path) -> None:
        self.logs, self.scratch, self.measured = folder / "logs", folder / "scratch", folder / "measured"
        self.scratch.mkdir()
        self.output = (folder / "output").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tune.nursery", str(self.measured)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.output,
            env={**os.environ, "TMPDIR": str(self.scratch)},
            text=True,
        )

    def start(self, *arguments: object) -> int:
        """The tuner's process."""
        self.send(json.dumps([*map(str, arguments), "--tuning-logs", str(self.logs), "--json"]))
        return int(self.line())

    def wait(self) -> int:
        """The status of a tuner that has ended."""
        while True:  # after what it printed
            try:
                return int(line := self.line())
            except ValueError:
                self.output.write(line)

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise EOFError("the nursery ended")
        return line

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.output.close()

    def orphans(self) -> list[str]:
        """Commands of the processes that tuners left."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
            except OSError:  # of somebody else, or gone
                continue
            if f"TMPDIR={self.scratch}".encode() in environment and int(folder.name) != self.process.pid:
                found.append(command.replace(b"\0", b" ").decode())
        return found

    def measurements(self) -> list[int]:
        """How many schedules each of them had."""
        return [int(line) for line in self.measured.read_text().split()] if self.measured.exists() else []

    def wait_for(self, count: int, seconds: float) -> None:
        """Waits until there are so many measurements, or the time is over."""
        end = time.monotonic() + seconds
        while len(self.measurements()) < count and time.monotonic() < end:
            time.sleep(0.02)

    def logged(self) -> list[dict[str, Any]]:
        """The whole lines of the log, which are JSON, all but the last without an end."""
        lines = []
        for path in self.logs.glob("*/*.jsonl"):
            *whole, _torn = path.read_text().split("\n")
            lines += map(json.loads, whole)
        return lines


def is_measured(record: dict[str, Any]) -> bool:
    """Whether a record says what a measurement found."""
    trial = record["kind"] == "trial" and record["rule"] != CHOICE
    return trial and (record["seconds"] is not None or "differ" in record["failure"])


def test_twenty_kills(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    onnx.save(small_network(), model)
    nursery = Nursery(tmp_path)
    rng = random.Random(7)
    try:
        arguments = (model, "--budget", "40s")
        kills = lost = attempts = 0
        while kills < KILLS:
            attempts += 1
            assert attempts < 2 * KILLS, "tuners end before they can be killed"
            before = nursery.measurements()
            process = nursery.start(*arguments)
            nursery.wait_for(len(before) + rng.randrange(3), seconds=10.0)
            time.sleep(rng.uniform(0.0, 0.4))
            os.kill(process, signal.SIGKILL)
            status = nursery.wait()
            assert status in (0, -signal.SIGKILL), nursery.output.seek(0) or nursery.output.read()
            kills += status != 0
            Log(nursery.logs, "host").read()  # raises if a line is damaged
            after = nursery.measurements()
            missing = sum(after) - sum(map(is_measured, nursery.logged()))
            assert missing - lost <= sum(after[len(before) :][-1:]), "more than one measurement is lost"
            lost = missing
        assert len(after) >= KILLS // 2, "tuners were killed before they measured"

        end = time.monotonic() + 20
        while nursery.orphans() and time.monotonic() < end:  # a linker ends when it is done
            time.sleep(0.1)
        assert not nursery.orphans()
        for path in nursery.scratch.iterdir():  # as if it were long ago
            os.utime(path, (0, 0))
        nursery.start(*arguments)
        assert nursery.wait() == 0
        assert not list(nursery.scratch.glob("edgec-*"))
    finally:
        nursery.close()

    loaded = load_model(model)
    lowered = lower_model(loaded, resolve(loaded, "host", None, None, False, None, True, tuning_logs=tmp_path / "none"))
    defaults = {}
    for workload in workloads_of(lowered.versions, lowered.programs):
        space = space_of(workload.program, load_target("host"))
        if space is not None:
            defaults[workload.key] = space.default.text
    tried = Counter(
        (record.workload, record.text)
        for record in Log(nursery.logs, "host").read("trial")
        if record.rounds == Settings.rounds and record.text != defaults.get(record.workload, record.text)
    )
    assert len(tried) > 20 and max(tried.values()) == 1, "what is known was measured again"
    compiled = compile_model(model, out=tmp_path / "net.so", tuning_logs=nursery.logs)
    assert compiled.verified == "passed"
