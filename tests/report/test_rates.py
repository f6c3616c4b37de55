"""The machine's measured limits: the C does the work it is credited with, and the roof is where the figures put it."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.build.toolchain import link_shared
from compiler.report import rates
from compiler.report.rates import _SOURCE, _UNIT, Level, Rates, _instruction_set, measure_rates
from compiler.target import load_target

RATES = Rates(1, 100, (Level("L2", 1000, 50), Level("L3", 4000, 20), Level("memory", None, 10)))


@pytest.mark.parametrize("size, name", [(0, "L2"), (1000, "L2"), (1001, "L3"), (4001, "memory"), (1e12, "memory")])
def test_the_level_that_holds_the_bytes(size: float, name: str) -> None:
    assert RATES.holding(size).name == name


@pytest.mark.parametrize("flops, size, seconds", [(1e9, 1000, 1e-2), (1, 1000, 2e-8), (1, 1e6, 1e-4), (0, 0, 0)])
def test_the_roof(flops: float, size: float, seconds: float) -> None:
    assert RATES.seconds(flops, size) == pytest.approx(seconds)


def instruction_sets() -> list[str]:
    target = load_target("host")
    best = _instruction_set(target)
    known = ["sse", "avx2", "avx512"] if target.machine == "x86_64" else [best]
    return known[: known.index(best) + 1]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("rates") / "rates.so"
    link_shared(load_target("host"), [], _SOURCE.parent, path)
    return ctypes.CDLL(str(path))


@pytest.mark.parametrize("name", instruction_sets())
def test_multiply_adds_are_done_and_counted(library: ctypes.CDLL, name: str) -> None:
    work = library[f"edgec_fma_{name}"]
    work.restype = ctypes.c_int64
    value, rounds = ctypes.c_float(0.5), 7
    flops = work(ctypes.c_int64(rounds), ctypes.byref(value))
    lanes = {"avx512": 16, "avx2": 8}.get(name, 4)
    chains = flops // 2 // lanes
    assert chains in (12, 24) and flops == 2 * lanes * chains
    term = 0.0
    for _ in range(rounds):  # x += 0.5 * 0.5; without fused multiply-adds x = x * 0.5 + 0.5
        term = term * 0.5 + 0.5 if name in ("sse", "plain") else term + 0.25
    assert value.value == pytest.approx(chains * term)


@pytest.mark.parametrize("name", instruction_sets())
def test_every_byte_is_read(library: ctypes.CDLL, name: str) -> None:
    lanes = {"avx512": 16, "avx2": 8}.get(name, 4)
    memory = np.zeros(1024 + 16, np.float32)
    begin = -memory.ctypes.data % 64 // 4
    data = memory[begin : begin + 1024]
    data[::lanes] = np.arange(1024 // lanes)  # the lane that is handed back
    total = ctypes.c_float()
    arguments = (ctypes.c_void_p(data.ctypes.data), ctypes.c_int64(4096), ctypes.c_int64(3))
    library[f"edgec_read_{name}"](*arguments, ctypes.byref(total))
    assert total.value == 3 * sum(range(1024 // lanes))


def test_measured_rates() -> None:
    rates = measure_rates(2)
    assert rates.threads == 2 and 0.1 < rates.gflops < 1e5
    assert rates.levels[-1].name == "memory" and rates.levels[-1].capacity is None
    assert all(0.01 < level.gbs < 1e5 for level in rates.levels)
    capacities = [level.capacity for level in rates.levels[:-1]]
    assert all(capacities) and capacities == sorted(capacities, key=lambda capacity: capacity or 0)


@pytest.mark.parametrize("target", ["aarch64-linux-gnu.2.28", "arm-linux-gnueabihf.2.28", "riscv64-linux-gnu.2.28"])
def test_other_machines(tmp_path: Path, target: str) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=c11", "-O2", "-Wall", "-Wextra"]
    command += ["-Werror", "-c", str(_SOURCE), "-o", str(tmp_path / "rates.o")]
    subprocess.run([*command, *(["-mcpu=cortex_a7"] * target.startswith("arm"))], check=True)


def test_reads_stay_in_memory_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a cache may have as many bytes as are read of memory at a time."""
    sizes = [("L2", 2 * _UNIT, _UNIT), ("memory", None, 8 * _UNIT)]
    monkeypatch.setattr(rates, "_levels", lambda target, threads: sizes)
    read: list[tuple[int, int]] = []

    def together(threads: int, work: Any, amount: float) -> float:
        for count in (1, 3, 100):
            work(0, 1, count)
        return amount

    class Library:
        def __getitem__(self, name: str) -> Any:
            return self

        def __call__(self, *args: Any) -> int:
            if len(args) == 4:
                read.append((args[1].value, args[2].value))
            return 1

    monkeypatch.setattr(rates, "_together", together)
    monkeypatch.setattr(rates, "link_shared", lambda *args: None)
    monkeypatch.setattr(rates.ctypes, "CDLL", lambda path: Library())
    measure_rates(1)
    assert read == [(_UNIT, 1), (_UNIT, 3), (_UNIT, 100), (_UNIT, 1), (3 * _UNIT, 1), (8 * _UNIT, 13)]
