"""Kernels whose indices are masked: LLVM's loop vectoriser would drop the mask."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import te

from compiler.build.codegen import compile_kernel
from compiler.build.llvm_options import _Gate
from compiler.target import load_target


def aligned(count: int) -> np.ndarray[Any, Any]:
    memory = np.zeros(count + 16, np.float32)
    begin = -memory.ctypes.data % 64 // 4
    return memory[begin : begin + count]


@pytest.mark.parametrize(
    ("rows", "mask", "columns", "period"), [(16, 4, 10, 5), (18, 4, 10, 5), (16, 8, 10, 5), (16, 4, 12, 4)]
)
def test_rows_that_repeat(tmp_path: Path, rows: int, mask: int, columns: int, period: int) -> None:
    x = te.placeholder((3 * mask * period,), "float32", name="x")

    def place(a: Any, b: Any, c: Any) -> Any:
        return a % 3 * (mask * period) + b % mask * period + c % period

    y = te.compute((5, rows, columns), lambda *at: x[place(*at)], name="y")
    (tmp_path / "k.o").write_bytes(compile_kernel(te.create_prim_func([x, y]), "kernel", load_target("host")))
    subprocess.run(["cc", "-shared", "-o", tmp_path / "k.so", tmp_path / "k.o", "-lm"], check=True)
    source, result = aligned(3 * mask * period), aligned(5 * rows * columns)
    source[:] = np.arange(len(source))
    ctypes.CDLL(str(tmp_path / "k.so")).kernel(*(ctypes.c_void_p(array.ctypes.data) for array in (source, result)))
    wanted = place(*np.meshgrid(np.arange(5), np.arange(rows), np.arange(columns), indexing="ij"))
    np.testing.assert_array_equal(result.reshape(5, rows, columns), wanted)


def test_one_alone_or_many() -> None:
    gate, inside, most = _Gate(), [0, 0], [0, 0]
    lock = threading.Lock()

    def work(alone: int) -> None:
        for _ in range(200):
            with gate.enter(bool(alone)):
                with lock:
                    inside[alone] += 1
                    most[alone] = max(most[alone], inside[alone])
                    assert not (inside[1] and inside[0])
                with lock:
                    inside[alone] -= 1

    failed: list[BaseException] = []
    threading.excepthook = lambda info: failed.append(info.exc_value or RuntimeError())
    threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = threading.__excepthook__
    assert not failed and most[1] == 1
