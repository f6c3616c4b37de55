"""The second half of scripts/quickstart: compiles the digits model, runs it, compares it with onnxruntime."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Run = Callable[[Array], Array]

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "examples" / "digits" / "digits.onnx"
LOADER = ROOT / "compiler" / "runtime" / "loader.py"
BOARD = "raspberry-pi-5"
SHOWN = 12
ROUNDS = 41  # of the comparison; in each, one after the other runs CALLS times
CALLS = 200


def compile_for(target: str, folder: Path) -> Path:
    """The artifact, made with the command that a user would type."""
    out = folder / f"digits-{target}.so"
    arguments = ["compile", str(MODEL.relative_to(ROOT)), "--target", target, "-o", str(out)]
    print(f"\n$ edgec {shlex.join(arguments)}", flush=True)
    status = subprocess.run([sys.executable, "-m", "compiler", *arguments], cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)
    return out


def import_loader(folder: Path) -> ModuleType:
    """loader.py as a device has it: one file beside the artifact, with NumPy, without edgec."""
    path = Path(shutil.copy(LOADER, folder))
    spec = importlib.util.spec_from_file_location("loader", path)
    assert spec and spec.loader
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    return loader


def show_predictions(run: Run, images: Array, labels: Array) -> None:
    predicted = np.array([run(image).argmax() for image in images])
    print(f"\n{len(images)} held-out images, the first {SHOWN}:")
    print("  label     ", *labels[:SHOWN])
    print("  predicted ", *predicted[:SHOWN])
    right = predicted == labels
    print(f"  right: {int(right.sum())} of {len(labels)} ({right.mean():.1%})")


def reference_run() -> Run | None:
    """onnxruntime with one thread; None where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})[0]


def compare_speed(ours: Run, theirs: Run | None, images: Array) -> None:
    """Medians of interleaved rounds, so that both meet the same disturbances; calls from Python."""
    print(f"\nOne call, 1 thread, median of {ROUNDS} interleaved rounds of {CALLS} calls:")
    runs = [ours] if theirs is None else [ours, theirs]
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(ROUNDS + 1):
        for i in range(len(runs)) if turn % 2 else reversed(range(len(runs))):
            begin = time.perf_counter()
            for call in range(CALLS):
                runs[i](images[call % len(images)])
            if turn:  # the first warms up
                times[i].append((time.perf_counter() - begin) / CALLS)
    print(f"  edgec        {statistics.median(times[0]) * 1e6:7.1f} µs")
    if theirs is None:
        print("  onnxruntime  not measured (not installed: pip install onnxruntime)")
        return
    print(f"  onnxruntime  {statistics.median(times[1]) * 1e6:7.1f} µs")
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    print(f"  onnxruntime needs {ratio:.2f} times as long (median of the pairs)")
    error = max(float(np.abs(ours(image) - theirs(image)).max()) for image in images)
    print(f"  largest difference of their scores: {error:.1e}")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="edgec-quickstart-"))
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = [compile_for(target, folder.resolve()) for target in ("host", BOARD)]
    with np.load(MODEL.parent / "held_out.npz") as held_out:
        images, labels = held_out["images"][:, None].astype(np.float32), held_out["labels"]
    loader = import_loader(folder)
    with loader.Model(artifacts[0], threads=1) as model:

        def ours(image: Array) -> Array:
            scores: Array = model.run({"image": image})["scores"]
            return scores

        show_predictions(ours, images, labels)
        compare_speed(ours, reference_run(), images)
    print("\nFiles:")
    for path in (MODEL, *artifacts, folder / "loader.py"):
        print(f"  {path.stat().st_size / 1e3:7.1f} kB  {path}")
    print(f"A {BOARD} needs {artifacts[1].name}, loader.py, Python and NumPy.")


if __name__ == "__main__":
    main()
