"""Threads and the CPUs they run on: copies of boards' /sys, the environment, and the system's real answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, Optional, Set

import fake_artifact
import numpy as np
import pytest
from fake_artifact import expected, make_feed

HERE = Path(__file__).resolve().parent
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc"),
    pytest.mark.skipif(len(CPUS) < 2, reason="one CPU only: there is nothing to choose from"),
]
A, B = [*CPUS, 0, 0][:2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cpus_test.c, with a sched_getaffinity that says that CPUs 0 to 7 may be used."""
    folder = tmp_path_factory.mktemp("cpus")
    (folder / "eight.c").write_text(
        "#define _GNU_SOURCE\n#include <sched.h>\n"
        "int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set) {\n"
        "  (void)pid, (void)size;\n  CPU_ZERO(set);\n"
        "  for (int cpu = 0; cpu < 8; ++cpu) CPU_SET(cpu, set);\n  return 0;\n}\n"
    )
    sources = [HERE / "cpus_test.c", folder / "eight.c", *(fake_artifact.RUNTIME / n for n in ("cpus.c", "affinity.c"))]
    command = ["gcc", *fake_artifact.CFLAGS, "-I", str(fake_artifact.RUNTIME), *map(str, sources)]
    subprocess.run([*command, "-o", str(folder / "cpus"), "-lpthread"], check=True)
    return folder / "cpus"


def write_cpus(root: Path, name: str, numbers: Dict[int, int]) -> Path:
    """A /sys in which each CPU has a file with its number."""
    for cpu, number in numbers.items():
        path = root / f"devices/system/cpu/cpu{cpu}/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")
    return root


def clusters(slow: int, fast: int, littles: int = 4) -> Dict[int, int]:
    return {cpu: slow if cpu < littles else fast for cpu in range(8)}


def place(
    program: Path, root: Path, threads: int = 0, affinity: str = "-", fast_cores: int = 0, **environment: str
) -> str:
    clean = {key: text for key, text in os.environ.items() if not key.startswith("EDGEC_")}
    command = [str(program), str(root), str(threads), affinity, str(fast_cores)]
    done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


ALL, LITTLE, BIG = "cpus 0 1 2 3 4 5 6 7", "cpus 0 1 2 3", "cpus 4 5 6 7"
CAPACITY, CLOCK = "cpu_capacity", "cpufreq/cpuinfo_max_freq"


@pytest.mark.parametrize(
    "name, numbers, default",
    [
        (CAPACITY, clusters(446, 1024), f"threads 4 {BIG} binds"),  # Cortex-A55 and A76
        (CAPACITY, clusters(592, 1024, 2), "threads 6 cpus 2 3 4 5 6 7 binds"),  # A53 and A73, which clocks lower
        (CAPACITY, {**clusters(250, 871), 7: 1024}, f"threads 4 {BIG} binds"),  # a prime core is one of the big ones
        (CAPACITY, clusters(1024, 1024), f"threads 8 {ALL}"),
        (CLOCK, clusters(1800000, 2400000), f"threads 4 {BIG} binds"),
        (CLOCK, clusters(5100000, 5200000), f"threads 8 {ALL}"),  # equal cores, of which some boost higher
        (CLOCK, dict.fromkeys(range(7), 2400000), f"threads 8 {ALL}"),  # not all are known
        (CLOCK, clusters(0, 2400000), f"threads 8 {ALL}"),
        ("nothing", {}, f"threads 8 {ALL}"),
    ],
)
def test_default(program: Path, tmp_path: Path, name: str, numbers: Dict[int, int], default: str) -> None:
    assert place(program, write_cpus(tmp_path, name, numbers)) == default
    assert place(program, tmp_path, threads=1) == f"threads 1 {ALL}"  # there will be no threads to bind


def test_capacities_count_before_clocks(program: Path, tmp_path: Path) -> None:
    write_cpus(tmp_path, CAPACITY, clusters(400, 1024))
    write_cpus(tmp_path, CLOCK, clusters(2000000, 1000000))
    assert place(program, tmp_path) == f"threads 4 {BIG} binds"


@pytest.mark.parametrize(
    "affinity, wanted",
    [
        ("big", f"threads 4 {BIG} binds asked"),
        ("little", f"threads 4 {LITTLE} binds asked"),
        ("all", f"threads 8 {ALL} asked"),
        ("2", "threads 1 cpus 2 binds asked"),
        ("0,2-3,3", "threads 3 cpus 0 2 3 binds asked"),
        ("6-9,1000", "threads 2 cpus 6 7 binds asked"),
        ("0-1023", f"threads 8 {ALL} asked"),
    ],
)
def test_asked_for(program: Path, tmp_path: Path, affinity: str, wanted: str) -> None:
    write_cpus(tmp_path, CAPACITY, clusters(446, 1024))
    assert place(program, tmp_path, affinity=affinity) == wanted
    assert place(program, tmp_path, EDGEC_AFFINITY=affinity) == wanted
    assert place(program, tmp_path, affinity=affinity, EDGEC_AFFINITY="7", EDGEC_THREADS="5").startswith("threads 5 ")


def test_big_and_little_are_the_same_where_all_cores_are(program: Path, tmp_path: Path) -> None:
    for affinity in ("big", "little"):
        assert place(program, tmp_path, affinity=affinity) == f"threads 8 {ALL} asked"


@pytest.mark.parametrize(
    "affinity", ["medium", "1,", ",1", "3-1", "1-", "-", "1024", "0 1", "0x1", "1.5", "99999999999999999999", "Big"]
)
def test_malformed_affinities(program: Path, tmp_path: Path, affinity: str) -> None:
    assert "is not `big`, `little`, `all` or CPUs" in place(program, tmp_path, EDGEC_AFFINITY=affinity)


def test_cpus_that_may_not_be_used(program: Path, tmp_path: Path) -> None:
    assert place(program, tmp_path, affinity="8-1023") == (
        "error: this process may use none of the CPUs that the affinity names"
    )


def test_thread_counts(program: Path, tmp_path: Path) -> None:
    write_cpus(tmp_path, CAPACITY, clusters(446, 1024))
    for threads, fast_cores, environment, wanted in (
        (0, 2, {}, 2),  # hardware threads of two cores
        (0, 16, {}, 4),
        (6, 2, {}, 6),
        (0, 2, {"EDGEC_THREADS": "7"}, 7),
        (3, 2, {"EDGEC_THREADS": "7"}, 3),
        (0, 2, {"EDGEC_AFFINITY": "all"}, 8),
        (0, 2, {"EDGEC_AFFINITY": "", "EDGEC_THREADS": ""}, 2),
        (9999, 0, {}, 64),
    ):
        text = place(program, tmp_path, threads, fast_cores=fast_cores, **environment)
        assert text.startswith(f"threads {wanted} "), (threads, fast_cores, environment, text)
    for wrong in ("0", "-1", "two", "1.5", "10000", "1 "):
        assert "EDGEC_THREADS is not" in place(program, tmp_path, EDGEC_THREADS=wrong)


@pytest.mark.parametrize(
    "quota, wanted",
    [("250000 100000", 3), ("100000 100000", 1), ("max 100000", 8), ("9999999 1", 8), ("", 8), ("100 0", 8), ("7", 8)],
)
def test_a_containers_quota(program: Path, tmp_path: Path, quota: str, wanted: int) -> None:
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cpu.max").write_text(f"{quota}\n")
    assert place(program, tmp_path).startswith(f"threads {wanted} ")
    assert place(program, tmp_path, threads=5).startswith("threads 5 ")


@pytest.fixture(autouse=True)
def own_affinity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("EDGEC_AFFINITY", raising=False)
    monkeypatch.delenv("EDGEC_THREADS", raising=False)
    yield
    assert sorted(os.sched_getaffinity(0)) == CPUS, "the caller's own affinity was changed"


def worker_cpus(before: Set[str]) -> Set[int]:
    """The CPUs that threads started since may use."""
    allowed = {frozenset(os.sched_getaffinity(int(t))) for t in set(os.listdir("/proc/self/task")) - before}
    (only,) = allowed
    return set(only)


@pytest.mark.parametrize(
    "affinity, wanted", [(str(A), {A}), (f"{A}-{B},{B}", {A, B}), ("all", set(CPUS)), (None, None)]
)
def test_workers_are_bound(
    loader: ModuleType, artifact: Path, affinity: Optional[str], wanted: Optional[Set[int]]
) -> None:
    before = set(os.listdir("/proc/self/task"))
    feed = make_feed("MANY_TASKS")
    with loader.Model(artifact, threads=3, affinity=affinity) as model:
        for _ in range(3):
            np.testing.assert_array_equal(model.run(feed)["y"], expected(feed["x"]))
            assert sorted(os.sched_getaffinity(0)) == CPUS
        if wanted is not None:
            assert worker_cpus(before) == wanted
        else:
            assert worker_cpus(before) <= set(CPUS)


def test_the_caller_is_bound_while_a_run_lasts(loader: ModuleType, tmp_path: Path) -> None:
    """The fake model's output `total` becomes the CPUs that the thread which runs it may use."""
    path = fake_artifact.build(tmp_path / "counts.so", flags=["-DFAKE_COUNTS_CPUS"])
    for affinity, wanted in ((str(B), 1), ("all", len(CPUS)), (None, len(CPUS))):
        for threads in (1, 2):
            with loader.Model(path, threads=threads, affinity=affinity) as model:
                assert model.run(make_feed())["total"] == wanted
                assert sorted(os.sched_getaffinity(0)) == CPUS


def test_a_caller_that_is_bound_stays_where_it_is(loader: ModuleType, tmp_path: Path) -> None:
    path = fake_artifact.build(tmp_path / "counts.so", flags=["-DFAKE_COUNTS_CPUS"])
    try:
        os.sched_setaffinity(0, {A})
        with loader.Model(path, affinity="all") as model:
            assert model.threads == 1  # no other CPU may be used
        with pytest.raises(ValueError, match="may use none of the CPUs"):
            loader.Model(path, affinity=str(B))
    finally:
        os.sched_setaffinity(0, CPUS)


def test_bad_affinities(loader: ModuleType, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is not `big`, `little`, `all` or CPUs"):
        loader.Model(artifact, affinity="fast")
    monkeypatch.setenv("EDGEC_AFFINITY", "1-0")
    with pytest.raises(ValueError, match="EDGEC_AFFINITY"):
        loader.Model(artifact)
    with loader.Model(artifact, affinity="all", threads=2) as model:
        assert model.threads == 2


REFUSE = "#include <errno.h>\nint sched_setaffinity(void) { errno = EPERM; return -1; }\n"


def test_a_system_that_refuses(loader: ModuleType, tmp_path: Path) -> None:
    """As in a sandbox: the model runs, unbound, after a warning."""
    (tmp_path / "refuse.c").write_text(REFUSE)
    path = fake_artifact.build(tmp_path / "refused.so", flags=["-fno-builtin", str(tmp_path / "refuse.c")])
    before, feed = set(os.listdir("/proc/self/task")), make_feed()
    with pytest.warns(RuntimeWarning, match="the system refuses to bind threads"):
        model = loader.Model(path, threads=3, affinity=str(A))
    with model:
        np.testing.assert_array_equal(model.run(feed)["y"], expected(feed["x"]))
        assert worker_cpus(before) == set(CPUS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader.Model(path, threads=3, affinity="all").close()  # nothing to bind
        loader.Model(path, threads=3).close()


def test_from_the_environment(artifact: Path) -> None:
    """Of a process that uses the loader and knows nothing of affinities."""
    code = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from fake_artifact import make_feed\nimport loader\n"
        "model = loader.Model(sys.argv[1]); model.run(make_feed('MANY_TASKS'))\n"
        "print(model.threads, [sorted(os.sched_getaffinity(int(t))) for t in sorted(os.listdir('/proc/self/task'))])"
    )
    command = [sys.executable, "-c", code, str(artifact), str(HERE), str(fake_artifact.RUNTIME)]
    environment: Dict[str, Any] = {
        **os.environ,
        "EDGEC_AFFINITY": f"{B}",
        "EDGEC_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"2 {[CPUS, [B]]}\n"
