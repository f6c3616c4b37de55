"""A tuner that is killed at any moment leaves a log that is whole, and the next one goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import onnx
import pytest

from compiler import compile_model
from compiler.frontend.prepare import load_model
from compiler.pipeline import lower_model, resolve
from compiler.runtime.serve import WORKER
from compiler.target import load_target
from compiler.tune.records import Log
from compiler.tune.space import space_of
from compiler.tune.trials import Settings
from compiler.tune.workloads import workloads_of
from tests.tune.trials import small_network

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc to look for processes in")

KILLS = 20


class Nursery:
    """Starts tuners that measure here; see nursery.py."""

    def __init__(self, folder: Path) -> None:
        self.logs, self.scratch, self.file = folder / "logs", folder / "scratch", folder / "events"
        self.scratch.mkdir()
        self.file.touch()
        self.output = (folder / "output").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tune.nursery", str(self.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.output,
            env={**os.environ, "TMPDIR": str(self.scratch)},
            text=True,
        )

    def start(self, *arguments: object) -> int:
        """The tuner's process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([*map(str, arguments), "--tuning-logs", str(self.logs), "--json"]) + "\n")
        self.process.stdin.flush()
        return int(self.line())

    def wait(self) -> int:
        """The status of a tuner that has ended."""
        while True:  # after what it printed
            try:
                return int(line := self.line())
            except ValueError:
                self.output.write(line)

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

    def printed(self) -> str:
        return Path(self.output.name).read_text()

    def events(self) -> list[str]:
        return self.file.read_text().splitlines()

    def wait_for(self, count: int, process: int) -> None:
        """Waits until there were so many measurements, or the tuner has ended."""
        while self.events().count("measured") < count and Path(f"/proc/{process}").exists():
            time.sleep(0.02)

    def lines(self) -> int:
        """Of the log, without those that have no end."""
        return sum(path.read_bytes().count(b"\n") for path in self.logs.glob("*/*.jsonl"))

    def workers(self) -> list[int]:
        """The processes that measure."""
        return [process for process, command in self.processes().items() if WORKER.name in command]

    def processes(self) -> dict[int, str]:
        """Tuners and what they started, each with its command."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
            except OSError:  # of somebody else, or gone
                continue
            if f"TMPDIR={self.scratch}".encode() in environment and int(folder.name) != self.process.pid:
                found[int(folder.name)] = command.replace(b"\0", b" ").decode()
        return found


def test_twenty_kills(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    onnx.save(small_network(), model)
    nursery = Nursery(tmp_path)
    rng = random.Random(7)
    arguments = (model, "--budget", "40s")
    try:
        kills = attempts = 0
        while kills < KILLS:
            attempts += 1
            assert attempts < 2 * KILLS, "tuners end before they can be killed"
            before = nursery.events()
            process = nursery.start(*arguments)
            nursery.wait_for(before.count("measured") + rng.randrange(3), process)
            time.sleep(rng.uniform(0.0, 0.3))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            status = nursery.wait()
            assert status in (0, -signal.SIGKILL), nursery.printed()
            kills += status != 0

            Log(nursery.logs, "host").read()  # raises if a line is damaged
            new = nursery.events()[len(before) :]
            logged = [place for place, event in enumerate(new) if event.startswith("logged")]
            after_the_last = new[logged[-1] + 1 :] if logged else new
            assert after_the_last.count("measured") <= 1, "more than one measurement is lost"
            records = [int(event.split()[1]) for event in nursery.events() if event.startswith("logged")]
            assert nursery.lines() >= sum(records), "what was in the log is not there any more"
        assert nursery.events().count("measured") >= KILLS // 2, "tuners were killed before they measured"

        end = time.monotonic() + 20
        while nursery.processes() and time.monotonic() < end:  # a linker ends when it is done
            time.sleep(0.1)
        assert not nursery.processes()
        for path in nursery.scratch.iterdir():  # as if it were long ago
            os.utime(path, (0, 0))
        nursery.start(*arguments)
        assert nursery.wait() == 0, nursery.printed()
        assert not list(nursery.scratch.glob("edgec-*"))
    finally:
        nursery.close()
    check_nothing_was_measured_twice(model, nursery.logs)
    assert compile_model(model, out=tmp_path / "net.so", tuning_logs=nursery.logs).verified == "passed"


def test_an_interrupted_tuner_ends_in_order(tmp_path: Path) -> None:
    """Its worker, which gets the signal of Ctrl-C too, measures on."""
    onnx.save(small_network(), tmp_path / "net.onnx")
    nursery = Nursery(tmp_path)
    try:
        process = nursery.start(tmp_path / "net.onnx", "--budget", "40s")
        nursery.wait_for(2, process)
        for pid in (*nursery.workers(), process):
            os.kill(pid, signal.SIGINT)
        assert nursery.wait() in (0, 130), nursery.printed()  # 130 before there is anything to decide by
        assert "Traceback" not in nursery.printed()
        assert not list(nursery.scratch.glob("edgec-*"))
        assert Log(nursery.logs, "host").read()
        assert not [record for record in Log(nursery.logs, "host").read() if "crash" in record.failure]
    finally:
        nursery.close()


def check_nothing_was_measured_twice(model: Path, logs: Path) -> None:
    loaded = load_model(model)
    lowered = lower_model(loaded, resolve(loaded, "host", None, None, False, None, True, tuning_logs=logs / "none"))
    spaces = {
        workload.key: space_of(workload.program, load_target("host"))
        for workload in workloads_of(lowered.versions, lowered.programs)
    }
    searched = {key: {one.text for one in space.decisions} for key, space in spaces.items() if space is not None}
    records = Log(logs, "host").read("trial")
    tried = Counter(
        (record.workload, record.text)
        for record in records
        if record.rounds <= Settings.rounds and record.text in searched.get(record.workload, ())
    )
    assert len(tried) > 10 and max(tried.values()) == 1
    samples = Counter((record.work["sample"], record.workload) for record in records if "sample" in record.work)
    assert samples and max(samples.values()) == 1
