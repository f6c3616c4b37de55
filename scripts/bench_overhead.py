#!/usr/bin/env python3
"""What a run costs beside its arithmetic: `bench_overhead.py [MODEL.onnx…] [--json OUT.json]`.

- a kernel's call: the time of a long chain of tiny kernels less that of a shorter one, by kernel;
- a parallel launch: with workers that are awake, and with workers that sleep, for several amounts of work;
- a call from Python: of a model with one tiny operator, and of the models given, beside onnxruntime's.

One thread but for the launches. Calls are measured in the thread's own CPU time, launches by the clock; the figures
are minima and medians of many short turns, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler import compile_model
from compiler.build.artifact import RUNTIME
from compiler.build.toolchain import link_shared
from compiler.files import write_text
from compiler.frontend.prepare import Tensor
from compiler.runtime.loader import Model
from compiler.target import load_target
from compiler.verify.vectors import seeded_inputs

_TURN = 0.01  # seconds
_DRIVER = Path(__file__).with_name("overhead.c")
_WORK_NS = (0, 1000, 2000, 4000, 8000, 16000, 50000, 200000)


def turns(run: Callable[[], Any], seconds: float) -> list[float]:
    """CPU seconds of one call, by turn of calls in a row."""
    for _ in range(10):
        run()
    begin = time.thread_time()
    for _ in range(10):
        run()
    calls = max(1, int(_TURN * 10 / (time.thread_time() - begin)))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        begin = time.thread_time()
        for _ in range(calls):
            run()
        samples.append((time.thread_time() - begin) / calls)
    return samples


def spread(samples: list[float]) -> dict[str, float]:
    return {"min_seconds": min(samples), "median_seconds": statistics.median(samples)}


def chain(length: int) -> onnx.ModelProto:
    """`length` products with 4x4 matrices of their own, each one kernel's call."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(np.linalg.qr(rng.standard_normal((4, 4)))[0].astype(np.float32), f"w{i}")
               for i in range(length)]  # fmt: skip
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(length)]
    values = [helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, [1, 4]) for i in (0, length)]
    graph = helper.make_graph(nodes, f"chain{length}", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def one_operator() -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "Relu of 4", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure_kernel_call(lengths: tuple[int, int], seconds: float, folder: Path) -> dict[str, Any]:
    models = [Model(compile_model(chain(n), "host", folder / f"{n}.so", verify=False).path, threads=1) for n in lengths]
    times = []
    for model in models:
        inputs = {"x0": np.ones((1, 4), np.float32)}
        kernels = sum(kernel["calls"] for kernel in model.manifest["kernels"])
        times.append((kernels, min(turns(lambda m=model, i=inputs: m.run(i), seconds))))  # type: ignore[misc]
    (few, short), (many, long) = times
    return {"kernels": [few, many], "seconds": [short, long], "seconds_a_kernel": (long - short) / (many - few)}


def measure_launches(threads: int, count: int, folder: Path) -> list[dict[str, Any]]:
    path = folder / "overhead.so"
    (folder / "overhead.c").write_text(_DRIVER.read_text())
    link_shared(load_target("host"), [Path("overhead.c")], RUNTIME, path)
    library = ctypes.CDLL(str(path))
    rows = []
    for asleep in (False, True):
        for work in _WORK_NS:
            took = (ctypes.c_uint64 * (max(10, count // 20) if asleep else count))()
            gap = ctypes.c_uint64(2000)
            if library.edgec_measure_launches(threads, ctypes.c_uint64(work), gap, int(asleep), took, len(took)):
                raise MemoryError
            rows.append({"threads": threads, "work_seconds": work * 1e-9, "asleep": asleep,
                         **spread([t * 1e-9 for t in took])})  # fmt: skip
    return rows


def measure_python(source: Path | onnx.ModelProto, seconds: float, folder: Path) -> dict[str, Any]:
    import onnxruntime

    artifact = compile_model(source, "host", folder / "model.so", verify=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    given = str(source) if isinstance(source, Path) else source.SerializeToString()
    session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    with Model(artifact.path, threads=1) as model:
        inputs = seeded_inputs([Tensor(t.name, t.dtype, t.shape) for t in model.inputs])
        model.run(inputs)
        inside = np.zeros(len(model.manifest["steps"]), np.uint64)
        kernels = []
        for _ in range(200):
            model.run(inputs, nanoseconds=inside)
            kernels.append(int(inside.sum()) * 1e-9)
        runs = {
            "edgec": turns(lambda: model.run(inputs), seconds),
            "onnxruntime": turns(lambda: session.run(None, inputs), seconds),
        }
    return {
        "model": artifact.manifest["model"]["name"],
        "kernels_seconds": min(kernels),
        **{peer: spread(samples) for peer, samples in runs.items()},
    }


def print_tables(report: dict[str, Any]) -> None:
    call = report["kernel_call"]
    print(f"a kernel's call: {call['seconds_a_kernel'] * 1e9:.0f} ns (chains of {call['kernels']})")
    print(f"\n| launch with {report['launches'][0]['threads']} threads: µs of work | awake, min (median) | asleep |")
    print("|---|---|---|")
    half = len(report["launches"]) // 2
    for awake, asleep in zip(report["launches"][:half], report["launches"][half:], strict=True):
        cells = [f"{row['min_seconds'] * 1e6:.2f} ({row['median_seconds'] * 1e6:.2f})" for row in (awake, asleep)]
        print(f"| {awake['work_seconds'] * 1e6:.0f} | {' | '.join(cells)} |")
    print("\n| model | edgec, µs | of it in kernels | beside them | onnxruntime, µs |\n|---|---|---|---|---|")
    for row in report["python"]:
        ours, inside, peer = row["edgec"]["min_seconds"], row["kernels_seconds"], row["onnxruntime"]["min_seconds"]
        cells = [f"{seconds * 1e6:.2f}" for seconds in (ours, inside, ours - inside, peer)]
        print(f"| {row['model']} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--threads", type=int, default=2, help="of the launches")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument("--chain", nargs=2, type=int, default=[200, 1000], help="kernels of the two chains")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = {
            "kernel_call": measure_kernel_call(tuple(options.chain), options.seconds, folder),
            "launches": measure_launches(options.threads, max(50, int(3000 * options.seconds)), folder),
            "python": [measure_python(m, options.seconds, folder) for m in (one_operator(), *options.models)],
        }
    print_tables(report)
    if options.json:
        write_text(options.json, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
