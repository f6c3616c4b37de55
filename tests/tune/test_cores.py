"""Cores that compile and that measure."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from compiler.build.objects import COMPILING, usable_cores
from compiler.tune.cores import kept_free

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="there is one core, or none can be chosen")


def cores_of_this_thread() -> list[int]:
    return sorted(os.sched_getaffinity(threading.get_native_id()))


def cores_of_a_new_thread() -> list[int]:
    with ThreadPoolExecutor(1, COMPILING) as inner:
        return inner.submit(cores_of_this_thread).result()


def test_what_compiles_leaves_cores_while_something_is_measured() -> None:
    with ThreadPoolExecutor(1, COMPILING) as pool, ThreadPoolExecutor(1, "another") as other:
        for executor in (pool, other):
            assert executor.submit(cores_of_this_thread).result() == CORES
        with kept_free(1):
            assert pool.submit(cores_of_this_thread).result() == CORES[:-1]
            assert pool.submit(cores_of_a_new_thread).result() == CORES[:-1]
            assert other.submit(cores_of_this_thread).result() == CORES
            assert cores_of_this_thread() == CORES
            assert pool.submit(usable_cores).result() == len(CORES)  # of which there are as many threads later
        assert pool.submit(cores_of_this_thread).result() == CORES
        with kept_free(len(CORES)):
            assert pool.submit(cores_of_this_thread).result() == CORES


def test_threads_that_end_meanwhile() -> None:
    with pytest.raises(ZeroDivisionError), kept_free(1), ThreadPoolExecutor(1, COMPILING) as pool:
        pool.submit(lambda: 1 // 0).result()
    assert cores_of_this_thread() == CORES
