"""Measures what this machine can do at most: multiply-adds in registers, and reading from each level of memory.

Kernels stand under these two limits as under a roof: Williams, Waterman and Patterson, "Roofline: an insightful visual
performance model for multicore architectures", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..build.toolchain import link_shared
from ..files import scratch_folder
from ..target import Target, load_target

_SOURCE = Path(__file__).with_name("rates.c")
_MEMORY = "memory"
_LEAST_MEMORY = 256 << 20  # bytes that are read to be past every cache, a server's large one too
_LEAST_OF_A_THREAD = 64 << 20  # bytes; more than one span reads
_BLOCK = 512  # bytes; reads are of multiples of it
_UNIT = 1 << 20  # bytes of memory of which some are read at a time
_SPAN, _WHOLE = 0.0005, 0.2  # seconds of one measurement, and of all that one figure comes from


@dataclass(frozen=True)
class Level:
    """A cache, or memory.

    Attributes:
        capacity: bytes of it that the measured threads have together; None for memory.
        gbs: GB/s that they read together.
    """

    name: str
    capacity: int | None
    gbs: float


@dataclass(frozen=True)
class Rates:
    """The most that was reached by `threads` threads together.

    Attributes:
        gflops: float32 GFLOP/s; a multiply-add counts two.
        levels: the caches beyond L1, the smallest first, then memory.
    """

    threads: int
    gflops: float
    levels: tuple[Level, ...]

    def holding(self, size: float) -> Level:
        """The smallest level that holds `size` bytes."""
        return next(level for level in self.levels if level.capacity is None or size <= level.capacity)

    def seconds(self, flops: float, size: float) -> float:
        """The least time for `flops` operations on `size` bytes that lie in the smallest level which holds them."""
        return max(flops / (self.gflops * 1e9), size / (self.holding(size).gbs * 1e9))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_rates(threads: int) -> Rates:
    """Measures for about a second, all threads at once.

    Raises:
        UserError: there is no C compiler, or no place for temporary files.
    """
    target = load_target("host")
    with scratch_folder("edgec-rates-") as folder:
        path = folder / "rates.so"
        link_shared(target, [], _SOURCE.parent, path)
        library = ctypes.CDLL(str(path))
    name = _instruction_set(target)
    multiply_add, read = library[f"edgec_fma_{name}"], library[f"edgec_read_{name}"]
    multiply_add.restype = ctypes.c_int64
    sink = (ctypes.c_float * threads)(*[1e-3] * threads)  # not zero: its products are quicker on some processors
    operations = multiply_add(ctypes.c_int64(1), _element(sink, 0))
    gflops = _together(threads, lambda i, _, n: multiply_add(ctypes.c_int64(n), _element(sink, i)), operations) / 1e9
    levels = []
    for label, capacity, size in _levels(target, threads):
        data = [_aligned(size) for _ in range(threads)]
        cached = capacity is not None
        unit = size if cached else _UNIT

        def reads(index: int, step: int, count: int, data: list[Any] = data, cached: bool = cached) -> None:
            begin, size, passes = data[index].ctypes.data, data[index].nbytes, count
            if not cached:  # each time what was not read for long
                size, passes = min(_UNIT * count, size), -(-_UNIT * count // size)
                begin += step * size % (data[index].nbytes - size + 1) // _BLOCK * _BLOCK
            read(ctypes.c_void_p(begin), ctypes.c_int64(size), ctypes.c_int64(passes), _element(sink, index))

        levels.append(Level(label, capacity, _together(threads, reads, unit) / 1e9))
    return Rates(threads, gflops, tuple(levels))


def _instruction_set(target: Target) -> str:
    """The suffix of the functions in rates.c."""
    if target.machine == "x86_64":
        return "avx512" if target.has("avx512f") else "avx2" if target.has("avx2") and target.has("fma") else "sse"
    return "neon" if target.machine in ("aarch64", "arm64", "armv7l") else "plain"


def _levels(target: Target, threads: int) -> list[tuple[str, int | None, int]]:
    """Name, capacity for all threads, and the bytes that each thread reads: half of its share of a cache."""
    caches = target.caches
    found: list[tuple[str, int | None, int]] = []
    for name, kib, private in (("L2", caches.l2_kib, not caches.l2_shared), ("L3", caches.l3_kib, False)):
        if kib:
            capacity = kib * 1024 * (threads if private else 1)
            found.append((name, capacity, _whole_blocks(capacity // threads // 2)))
    largest = max((capacity for _, capacity, _ in found if capacity), default=0)
    return [*found, (_MEMORY, None, max(_whole_blocks(max(_LEAST_MEMORY, 4 * largest) // threads), _LEAST_OF_A_THREAD))]


def _whole_blocks(size: int) -> int:
    return max(size // _BLOCK, 1) * _BLOCK


def _aligned(size: int) -> np.ndarray[Any, Any]:
    memory = np.zeros(size + 64, np.uint8)
    memory[:] = 0  # zeros alone maps every page to one
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size]


def _element(array: Any, index: int) -> Any:
    return ctypes.byref(array, index * ctypes.sizeof(ctypes.c_float))


def _together(threads: int, work: Callable[[int, int, int], object], amount: float) -> float:
    """How much of `amount` a second all threads do together, when each is at its best but for a tenth of the time.

    Spans are so short that other programs of a busy machine come between few of them.

    Args:
        work: does it; gets the thread's index, the number of the span, and how often. Leaves the interpreter's lock
            alone meanwhile.
    """
    count = 1
    while (seconds := _seconds(work, 0, 0, count)) < _SPAN:
        count = max(count * 2, int(count * _SPAN / max(seconds, 1e-7)))
    barrier = threading.Barrier(threads)
    spans: list[list[float]] = [[] for _ in range(threads)]

    def repeat(index: int) -> None:
        barrier.wait()
        end = time.perf_counter() + _WHOLE
        while time.perf_counter() < end:
            spans[index].append(_seconds(work, index, len(spans[index]) + 1, count))

    workers = [threading.Thread(target=repeat, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(amount * count / float(np.percentile(taken, 10)) for taken in spans)


def _seconds(work: Callable[[int, int, int], object], index: int, step: int, count: int) -> float:
    start = time.perf_counter()
    work(index, step, count)
    return time.perf_counter() - start
