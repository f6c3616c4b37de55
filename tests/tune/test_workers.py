"""Kernels that Dask workers compile: the same bytes as here, whatever becomes of the workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compiler.build.cache import Cache
from compiler.build.objects import CompiledKernel, compile_kernels
from compiler.errors import UserError
from compiler.frontend.prepare import load_model
from compiler.kernels.rule import Decision
from compiler.pipeline import resolve
from compiler.target import Target, load_target
from compiler.tune.boards import LocalBoard
from compiler.tune.fleet import Fleet
from compiler.tune.records import Log
from compiler.tune.session import tune
from tests.networks import convnet
from tests.tune.programs import product

distributed = pytest.importorskip("distributed", reason="the extra `workers` is not installed")

from compiler.tune import workers as module  # noqa: E402
from compiler.tune.workers import DaskWorkers  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def process(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Dask; modules come from `folder` first, then from ours."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", *command]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment, cwd=folder) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A scheduler without workers."""
    file = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(file))
    with process(folder, "distributed.cli.dask_scheduler", *options):
        wait_until(lambda: file.exists() and b'"address"' in file.read_bytes())
        yield json.loads(file.read_text())["address"]


@contextmanager
def worker(address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
    before = count(address)
    with process(folder, "distributed.cli.dask_worker", address, *options, "--local-directory", str(folder)) as running:
        wait_until(lambda: count(address) > before)
        yield running


def count(address: str) -> int:
    with distributed.Client(address, set_as_default=False) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])


def wait_until(true: Any) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a scheduler with two workers."""
    folder = tmp_path_factory.mktemp("dask")
    with cluster(folder) as address, worker(address, folder), worker(address, folder):
        yield address


def jobs() -> tuple[dict[str, Any], dict[str, Decision]]:
    """Programs of several kernels, and schedules of some."""
    programs = {f"{n}": product(5, 8, n) for n in (3, 16, 33)} | {"rows": product()}
    return programs, {"rows": Decision("tile", {"rows": 2})}


def compiled(target: Target, **options: Any) -> dict[str, CompiledKernel]:
    programs, decisions = jobs()
    return compile_kernels(programs, target, decisions=decisions, **options).kernels


class Counted:
    """Workers, and how many kernels they made."""

    def __init__(self, workers: DaskWorkers) -> None:
        self.workers, self.made = workers, 0

    def compile(self, *given: Any) -> Any:
        made = self.workers.compile(*given)
        self.made += len(made)
        return made


@pytest.mark.parametrize("name", ["host", "raspberry-pi-4"])
def test_two_workers_make_what_this_machine_makes(name: str, address: str, tmp_path: Path) -> None:
    target, told = load_target(name), list[str]()
    workers = DaskWorkers(address, told.append)
    counted, cache = Counted(workers), Cache(tmp_path)
    assert workers.count == 2
    assert compiled(target, workers=counted, cache=cache) == compiled(target)
    assert counted.made == 4 and not told
    assert compiled(target, workers=counted, cache=cache) == compiled(target)  # from the cache
    assert counted.made == 4
    workers.close()


def test_workers_that_are_lost(tmp_path: Path) -> None:
    """One of two that dies leaves its work to the other, and the last one to this machine."""
    target, told = load_target("host"), list[str]()
    expected = compiled(target)
    with cluster(tmp_path) as address, worker(address, tmp_path) as first, worker(address, tmp_path) as second:
        workers = DaskWorkers(address, told.append)
        counted = Counted(workers)
        first.send_signal(signal.SIGSTOP)  # so that it has work when it dies
        killer = subprocess.Popen(["sh", "-c", f"sleep 2; kill -9 {first.pid}"])
        assert compiled(target, workers=counted) == expected
        assert not told and counted.made == 4
        killer.wait()
        second.kill()
        wait_until(lambda: workers.count == 0)
        assert compiled(target, workers=counted) == expected
        assert counted.made == 4
        assert told == [f"workers at {address}: 4 kernels are compiled here: no worker is left"]
    assert compiled(target, workers=counted) == expected  # nor is the scheduler there
    workers.close()


def test_a_worker_with_other_sources_refuses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    workers = DaskWorkers(address, told.append)
    monkeypatch.setattr("compiler.build.objects._context", lambda target: "of another commit")
    assert len(compiled(load_target("host"), workers=workers)) == 4
    assert len(told) == 1 and "the worker's edgec is another" in told[0]
    workers.close()


def test_a_worker_of_another_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EDGEC", "9.9")
    with pytest.raises(UserError, match=r"the worker tcp.* has edgec .*; here is edgec 9\.9") as raised:
        DaskWorkers(address)
    assert "install the same edgec" in str(raised.value)


def test_a_worker_without_edgec(tmp_path: Path) -> None:
    (tmp_path / "compiler.py").write_text("raise ImportError('another program')\n")  # which comes first
    refused = pytest.raises(UserError, match="has no edgec that works")
    with cluster(tmp_path) as address, worker(address, tmp_path), refused:
        DaskWorkers(address)


def test_a_scheduler_without_workers(tmp_path: Path) -> None:
    with cluster(tmp_path) as address, pytest.raises(UserError, match="has no workers"):
        DaskWorkers(address)


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 1)
    with pytest.raises(UserError, match="no Dask scheduler answers at"):
        DaskWorkers("tcp://127.0.0.1:1")


@pytest.mark.parametrize("given", ["", "tcp://", "127.0.0.1:8786", "inproc://x:1", "tcp://x:y"])
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(UserError, match="not the address of a scheduler"):
        DaskWorkers(given)


def test_a_session_compiles_there(address: str, tmp_path: Path) -> None:
    model, logs = load_model(convnet()), tmp_path / "logs"
    options = resolve(model, "host", None, None, False, None, True, tuning_logs=logs)
    workers, board = Counted(DaskWorkers(address)), LocalBoard(1)
    tune(model, options, Fleet([board]), Log(logs, "host"), 20.0, cache=Cache(tmp_path), workers=workers)
    board.close()
    workers.workers.close()
    assert workers.made > 0 and Log(logs, "host").read("trial")
