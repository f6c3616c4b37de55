#!/usr/bin/env python3
"""Latency of our artifacts beside onnxruntime's: `bench_peers.py MODEL.onnx… [--threads 1 2] [--json OUT.json]`.

Both run in one process, in turns of a tenth of a second, on the same seeded inputs; the table has each one's
median and the ratio of the medians. A folder given instead of a model stands for all of its `.onnx` files, below
it too; with a `catalog.json` (see corpus_table.py) dynamic inputs get the shapes given there. Models that cannot
be compiled are named and left out. `--shape NAME=1x3x8x8` fixes dynamic inputs of models given by name.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler import UserError, compile_model
from compiler.files import write_text
from compiler.frontend.prepare import Tensor
from compiler.frontend.shapes import parse_shapes
from compiler.runtime.loader import Model
from compiler.verify.vectors import seeded_inputs

# Seconds of one's turn, and of rest before it, in which the other one's threads stop spinning.
_TURN, _PAUSE = 0.1, 0.03

Shapes = dict[str, tuple[int, ...]]


def find_models(paths: list[Path], shapes: Shapes) -> list[tuple[Path, Shapes]]:
    """Each model with the shapes for its dynamic inputs."""
    found: list[tuple[Path, Shapes]] = []
    for path in paths:
        catalog = path / "catalog.json"
        if catalog.is_file():
            for entry in json.loads(catalog.read_text())["models"]:
                dynamic = {i["name"]: tuple(i["golden_shape"]) for i in entry["inputs"] if i["dynamic"]}
                if not entry["quantised"]:
                    found.append((path / entry["file"], dynamic))
        elif path.is_dir():
            found += [(model, {}) for model in sorted(path.rglob("*.onnx"))]
        else:
            found.append((path, shapes))
    return found


def pair(ours: Callable[[], Any], peer: Callable[[], Any], seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of each run, in turns of a few runs, for about `seconds` after a warm-up; at least seven of each."""
    samples: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[0]) < 7:
        for run, times in zip((ours, peer), samples, strict=True):
            time.sleep(_PAUSE)
            run()  # not counted: the other one had the caches
            turn = time.perf_counter() + _TURN
            while time.perf_counter() < turn:
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
    return samples


def measure(path: Path, shapes: Shapes, threads: list[int], seconds: float, folder: Path) -> list[dict[str, Any]]:
    """One row a thread count.

    Raises:
        UserError: the model cannot be compiled.
    """
    import onnxruntime

    artifact = compile_model(path, "host", folder / f"{path.stem}.so", shapes)
    if artifact.verified != "passed":
        raise UserError(f"verification {artifact.verified}: {artifact.manifest['verification'].get('reason')}")
    tensors = [Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in artifact.manifest["inputs"]]
    inputs = seeded_inputs(tensors)
    rows = []
    for count in threads:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = count, 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        with Model(artifact.path, threads=count) as model:
            ours, peer = pair(lambda m=model: m.run(inputs), lambda s=session: s.run(None, inputs), seconds)
        a, b = statistics.median(ours), statistics.median(peer)
        rows.append({
            "model": path.stem, "threads": count, "runs": len(ours),
            "edgec_seconds": a, "onnxruntime_seconds": b, "ratio": b / a,
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x8x8")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1.5, help="for each pair")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| model | threads | edgec, ms | onnxruntime, ms | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for path, shapes in find_models(options.models, parse_shapes(options.shape)):
            try:
                made = measure(path, shapes, options.threads, options.seconds, Path(folder))
            except UserError as error:
                print(f"{path.stem}: {error.what.splitlines()[0]}", file=sys.stderr)
                continue
            rows += made
            for row in made:
                ours, peer = row["edgec_seconds"] * 1e3, row["onnxruntime_seconds"] * 1e3
                print(
                    f"| {row['model']} | {row['threads']} | {ours:.3f} | {peer:.3f} | {row['ratio']:.2f} |", flush=True
                )
    for count in options.threads:
        ratios = [row["ratio"] for row in rows if row["threads"] == count]
        if ratios:
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            print(f"\n{len(ratios)} models, {count} threads: geometric mean {mean:.2f}, least {min(ratios):.2f}")
    if options.json:
        write_text(options.json, json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
