"""Model.run: arrays in every shape a caller may bring them, errors, threads, life time."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, List

import fake_artifact
import numpy as np
import pytest
from fake_artifact import expected, make_feed

N = fake_artifact.N
Feed = Dict[str, Any]


@pytest.fixture(params=[1, 2, 5])
def model(request: pytest.FixtureRequest, loader: ModuleType, artifact: Path) -> Iterator[Any]:
    with loader.Model(artifact, threads=request.param) as opened:
        assert opened.threads == request.param
        yield opened


@pytest.fixture
def single(loader: ModuleType, artifact: Path) -> Iterator[Any]:
    with loader.Model(artifact, threads=2) as opened:
        yield opened


def aligned(shape: Any, dtype: Any, offset: int = 0) -> np.ndarray[Any, Any]:
    """An array whose address is `offset` past a multiple of 64."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(count + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    view: np.ndarray[Any, Any] = memory[begin : begin + count].view(dtype).reshape(shape)
    return view


def test_description(single: Any) -> None:
    assert [(t.name, t.dtype, t.shape, t.nbytes) for t in single.inputs] == [
        ("x", "float32", (N,), 4 * N),
        ("mode", "int32", (), 4),
        ("empty", "float64", (0, 3), 0),
    ]
    assert [t.name for t in single.outputs] == ["y", "total", "nothing"]
    assert single.manifest["model"]["name"] == "fake"


@pytest.mark.parametrize("mode", ["PLAIN", "NESTED", "MANY_TASKS", "ONE_TASK"])
def test_results(model: Any, mode: str) -> None:
    for seed in range(20):
        feed = make_feed(mode, seed)
        result = model.run(feed)
        assert list(result) == ["y", "total", "nothing"]
        np.testing.assert_array_equal(result["y"], expected(feed["x"]))
        assert result["total"].shape == () and result["total"].dtype == np.float32
        assert result["nothing"].shape == (0, 3) and result["nothing"].dtype == np.int8
        assert result["y"].ctypes.data % 64 == 0
        if mode == "ONE_TASK":
            assert result["total"] == 1


def test_results_are_fresh(single: Any) -> None:
    first = single.run(make_feed(seed=1))["y"]
    copy = first.copy()
    second = single.run(make_feed(seed=2))["y"]
    np.testing.assert_array_equal(first, copy)
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize(
    "mode, words",
    [
        ("FAIL", "kernel 'always_fails' failed with code 42"),
        ("TASK_FAILS", "kernel 'scale' failed with code -1"),
        ("HUGE_WORKSPACE", "not enough memory for its workspace"),
        ("BARRIER", "barrier"),
    ],
)
def test_kernel_failure_leaves_the_model_usable(single: Any, feed: Feed, mode: str, words: str) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError, match=words):
            single.run(make_feed(mode))
        np.testing.assert_array_equal(single.run(feed)["y"], expected(feed["x"]))


def test_a_barrier_among_one_task_is_no_barrier(loader: ModuleType, artifact: Path) -> None:
    with loader.Model(artifact, threads=1) as one:
        feed = make_feed("BARRIER")
        np.testing.assert_array_equal(one.run(feed)["y"], expected(feed["x"]))


def test_step_times(model: Any, feed: Feed) -> None:
    took = np.zeros(3, np.uint64)
    begin = time.perf_counter_ns()
    result = model.run(feed, nanoseconds=took)
    assert 0 < took.sum() <= time.perf_counter_ns() - begin
    assert np.array_equal(result["y"], expected(feed["x"]))


@pytest.mark.parametrize(
    "array", [np.zeros(2, np.uint64), np.zeros(3, np.int64), np.zeros(6, np.uint64)[::2], np.zeros((3, 1), np.uint64)]
)
def test_bad_arrays_for_step_times(single: Any, feed: Feed, array: Any) -> None:
    with pytest.raises(ValueError, match="contiguous uint64, 3 of them"):
        single.run(feed, nanoseconds=array)


@pytest.mark.parametrize("offset", [4, 16, 32, 48, 60])
def test_misaligned_input_is_staged(single: Any, feed: Feed, offset: int) -> None:
    x = aligned(N, np.float32, offset)
    x[...] = feed["x"]
    for seed in range(2):  # the staging buffer is used again
        x[...] = make_feed(seed=seed)["x"]
        np.testing.assert_array_equal(single.run({**feed, "x": x})["y"], expected(x))


def test_aligned_input_is_not_copied(single: Any, feed: Feed) -> None:
    x, mode = aligned(N, np.float32), aligned((), np.int32)
    x[...] = feed["x"]
    single.run({"x": x, "mode": mode, "empty": np.empty((0, 3))})
    assert [slot.memory is None for slot in single._sources] == [True, False, False]  # small ones are copied


def test_staging_is_allocated_once(single: Any, feed: Feed) -> None:
    single.run({**feed, "x": feed["x"][::-1]})
    first = single._sources[0].memory
    single.run({**feed, "x": feed["x"][::-1]})
    assert single._sources[0].memory is first


def test_layouts_and_byte_order(single: Any, feed: Feed) -> None:
    x = feed["x"]
    wide = np.zeros((N, 3), np.float32)
    wide[:, 1] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    for array in (x[::-1][::-1], wide[:, 1], x.astype(">f4"), readonly, np.broadcast_to(x[:1], N), list(x)):
        if isinstance(array, list):
            with pytest.raises(TypeError, match="float64 was given"):
                single.run({**feed, "x": np.array(array, np.float64)})
            continue
        np.testing.assert_array_equal(single.run({**feed, "x": array})["y"], expected(np.asarray(array)))
    np.testing.assert_array_equal(single.run({**feed, "mode": np.array(5, ">i4")})["y"], expected(x))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint32", "object", "complex64", "bool", "S4"])
def test_no_silent_cast(single: Any, feed: Feed, dtype: str) -> None:
    with pytest.raises(TypeError) as caught:
        single.run({**feed, "x": np.zeros(N, dtype)})
    given = str(np.dtype(dtype))
    for words in ("'x'", "must be float32", given + " was given", ".astype(numpy.float32)"):
        assert words in str(caught.value)


def test_names_and_shapes(single: Any, feed: Feed) -> None:
    known = r"inputs \['empty', 'mode', 'x'\] and outputs \['nothing', 'total', 'y'\]"
    with pytest.raises(ValueError, match=r"missing or unknown: \['x'\].*" + known):
        single.run({"mode": feed["mode"], "empty": feed["empty"]})
    with pytest.raises(ValueError, match=r"unknown: \['z'\]"):
        single.run({**feed, "z": feed["x"]})
    with pytest.raises(ValueError, match=r"unknown: \['x'\]"):
        single.run(feed, {"x": feed["x"]})
    for wrong in (np.zeros(N + 1, np.float32), np.zeros((1, N), np.float32), np.float32(1)):
        with pytest.raises(ValueError, match=r"'x' must have shape \(4096,\)"):
            single.run({**feed, "x": wrong})
    with pytest.raises(ValueError, match="'mode' must have shape"):
        single.run({**feed, "mode": np.zeros(1, np.int32)})


def test_callers_outputs(single: Any, feed: Feed) -> None:
    wide = np.full((N, 3), 7, np.float32)
    swapped = np.zeros(N, ">f4")
    for y in (
        aligned(N, np.float32),
        aligned(N, np.float32, 4),
        wide[:, 1],
        swapped,
        np.zeros(N, np.float32)[::-1],
    ):
        total = np.zeros((), np.float32)
        result = single.run(feed, {"y": y, "total": total, "nothing": None})
        assert result["y"] is y and result["total"] is total and result["nothing"].shape == (0, 3)
        np.testing.assert_array_equal(y, expected(feed["x"]))
        assert total != 0
    assert (wide[:, 0] == 7).all() and (wide[:, 2] == 7).all()


def test_a_direct_output_is_not_staged(single: Any, feed: Feed) -> None:
    y = aligned(N, np.float32)
    single.run(feed, {"y": y})
    assert single._targets[0].memory is None
    np.testing.assert_array_equal(y, expected(feed["x"]))


def test_bad_outputs(single: Any, feed: Feed) -> None:
    readonly = aligned(N, np.float32)
    readonly.flags.writeable = False
    for wrong in (readonly, [0.0] * N, np.float32(1)):
        with pytest.raises(ValueError, match="'y' must be a writeable"):
            single.run(feed, {"y": wrong})
    with pytest.raises(ValueError, match="'y' must have shape"):
        single.run(feed, {"y": np.zeros(3, np.float32)})
    with pytest.raises(TypeError, match="'y' must be float32"):
        single.run(feed, {"y": np.zeros(N, np.float64)})
    memory = aligned(N + 16, np.float32)
    with pytest.raises(ValueError, match="shares memory with another"):
        single.run(feed, {"y": memory[:N], "total": memory[N - 1 :][:1].reshape(())})


def test_outputs_that_alias_inputs(single: Any) -> None:
    for shift in (0, 16):
        memory = aligned(N + 64, np.float32)
        x, y = memory[:N], memory[shift : shift + N]
        x[...] = make_feed()["x"]
        wanted = expected(x)
        single.run({**make_feed(), "x": x}, {"y": y})
        np.testing.assert_array_equal(y, wanted)


def test_interleaved_outputs(single: Any, feed: Feed) -> None:
    memory = np.zeros((N + 1, 2), np.float32)
    y, total = memory[:N, 0], memory[5, 1:].reshape(())
    result = single.run(feed, {"y": y, "total": total})
    np.testing.assert_array_equal(memory[:N, 0], expected(feed["x"]))
    assert memory[5, 1] == result["total"] != 0


def test_two_models_in_one_process(loader: ModuleType, artifact: Path, other_artifact: Path, feed: Feed) -> None:
    with loader.Model(artifact, threads=2) as a, loader.Model(other_artifact, threads=2) as b:
        for _ in range(3):
            np.testing.assert_array_equal(a.run(feed)["y"], expected(feed["x"]))
            np.testing.assert_array_equal(b.run(feed)["y"], expected(feed["x"], 3, 1))


def test_a_replaced_file_is_loaded_anew(
    loader: ModuleType, artifact: Path, other_artifact: Path, tmp_path: Path, feed: Feed
) -> None:
    path = tmp_path / "model.so"
    shutil.copy(artifact, path)
    with loader.Model(path) as old:
        shutil.copy(other_artifact, tmp_path / "new")
        os.replace(tmp_path / "new", path)
        with loader.Model(path) as new:
            np.testing.assert_array_equal(old.run(feed)["y"], expected(feed["x"]))
            np.testing.assert_array_equal(new.run(feed)["y"], expected(feed["x"], 3, 1))


def test_close(loader: ModuleType, artifact: Path, feed: Feed) -> None:
    model = loader.Model(artifact)
    model.run(feed)
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.run(feed)


def mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_close_unmaps_the_file(loader: ModuleType, artifact: Path, tmp_path: Path, feed: Feed) -> None:
    path = tmp_path / "model.so"
    shutil.copy(artifact, path)
    model = loader.Model(path, threads=3)
    result = model.run(feed)["y"]
    assert mapped(path)
    model.close()
    assert not mapped(path)
    np.testing.assert_array_equal(result, expected(feed["x"]))
    model = loader.Model(path)
    del model
    assert not mapped(path)


def test_thousands_of_loads_leak_nothing(loader: ModuleType, artifact: Path, feed: Feed) -> None:
    """More loads than a process has thread keys (1024) or could have threads; nothing stays open."""

    def state() -> Any:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    before = state()
    for round in range(1200):
        with loader.Model(artifact, threads=2, check=False) as model:
            if round % 100 == 0:
                model.run(feed)
    wait_for_tasks(before[1])
    assert state() == before


def test_thread_counts(loader: ModuleType, artifact: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("EDGEC_THREADS", raising=False)
    cpus = len(os.sched_getaffinity(0))
    one, many = (
        fake_artifact.build(tmp_path / f"{cores}.so", flags=[f"-DFAKE_FAST_CORES={cores}"]) for cores in (1, 99)
    )
    for path, given, wanted in (
        (artifact, None, cpus),
        (one, None, 1),
        (many, None, cpus),
        (one, 3, 3),
        (one, 999, 64),
    ):
        with loader.Model(path, threads=given) as model:
            assert model.threads == wanted
    monkeypatch.setenv("EDGEC_THREADS", "3")
    for given, wanted in ((None, 3), (2, 2)):
        with loader.Model(one, threads=given) as model:
            assert model.threads == wanted
    for text in ("0", "-1", "two", "1.5", "100000"):
        monkeypatch.setenv("EDGEC_THREADS", text)
        with pytest.raises(ValueError, match="EDGEC_THREADS"):
            loader.Model(one)
    for wrong in (0, -1, 1.5, True, "x", 10000):
        with pytest.raises(ValueError, match="threads"):
            loader.Model(one, threads=wrong)


def task_count() -> int:
    return len(os.listdir("/proc/self/task"))


def wait_for_tasks(count: int) -> None:
    """/proc may show a thread for a moment after it was joined."""
    end = time.monotonic() + 5
    while task_count() != count and time.monotonic() < end:
        time.sleep(0.001)
    assert task_count() == count


def test_workers_start_late_and_end(loader: ModuleType, artifact: Path, feed: Feed) -> None:
    before = task_count()
    with loader.Model(artifact, threads=1) as one:
        one.run(feed)
        assert task_count() == before
    model = loader.Model(artifact, threads=4)
    assert task_count() == before
    model.run(feed)
    assert task_count() == before + 3
    model.close()
    wait_for_tasks(before)


def test_one_model_shared_by_threads(single: Any) -> None:
    run_in_threads(8, 30, lambda _: single)


def test_a_model_for_each_thread(loader: ModuleType, artifact: Path) -> None:
    models = [loader.Model(artifact, threads=1 + i % 3) for i in range(8)]
    run_in_threads(8, 30, lambda i: models[i])
    for model in models:
        model.close()


def run_in_threads(threads: int, rounds: int, choose: Any) -> None:
    errors: List[Any] = []

    def body(index: int) -> None:
        try:
            for round in range(rounds):
                feed = make_feed("MANY_TASKS" if round % 3 == 0 else "PLAIN", seed=index * 1000 + round)
                if not np.array_equal(choose(index).run(feed)["y"], expected(feed["x"])):
                    errors.append((index, round))
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=body, args=(i,)) for i in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert errors == []


def test_bfloat16_travels_as_bits(loader: ModuleType, artifact: Path, tmp_path: Path, feed: Feed) -> None:
    def edit(manifest: Dict[str, Any]) -> None:
        manifest["inputs"][0].update(dtype="bfloat16", shape=[2 * N])

    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = feed["x"].view(np.uint16)
    with loader.Model(fake_artifact.edit_manifest(artifact, tmp_path / "bf16.so", edit), threads=1) as model:
        np.testing.assert_array_equal(model.run({**feed, "x": bits})["y"], expected(feed["x"]))
        with pytest.raises(TypeError, match=r"must be bfloat16, but bfloat16 was given: hand over its bits with .view"):
            model.run({**feed, "x": bits.view(ml_dtypes.bfloat16)})
