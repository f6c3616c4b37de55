#!/usr/bin/env python3
"""Latency by precision: `bench_precision.py MODEL.onnx… [--threads 1 2] [--target x86-64-v3] [--out FILE]`.

Of each model, all in one process and in turns: our artifacts in float32 and in each of --precisions, onnxruntime on
the model, onnxruntime on its own int8 of it (static, uint8 data, int8 weights by channel, what it recommends for x86),
and OpenVINO as it comes, which is bfloat16 where the processor has it. Models and folders are given as to
bench_peers.py. Samples for calibration are the seeded inputs: speed does not depend on them. `pip install '.[peers]'`
brings the runtimes.

Writes OUT.json and OUT.md (what is printed): milliseconds, and for each precision how many times it is as fast as our
float32, and as the peer that it competes with; the sizes of weights likewise.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler import UserError, compile_model
from compiler.files import write_text
from compiler.frontend.prepare import Tensor
from compiler.frontend.shapes import parse_shapes
from compiler.runtime.loader import Model
from compiler.target import load_target
from compiler.verify.vectors import seeded_inputs
from scripts.bench_peers import find_models
from scripts.peers.measure import Shapes, fix_model, input_tensors, take_turns
from scripts.peers.runtimes import Case, Refused, load
from scripts.peers.table import geometric_mean, not_measured

# What a precision of ours is compared with beside our float32.
RIVALS = {
    "fp32": "onnxruntime",
    "int8": "onnxruntime int8",
    "int8-dynamic": "onnxruntime",
    "bf16": "openvino-default",
    "fp16": "openvino-default",
}
_SAMPLES = 8

Row = dict[str, Any]
Array = np.ndarray[Any, Any]


class _Reader:
    """Samples, as onnxruntime's quantiser asks for them."""

    def __init__(self, samples: Sequence[Mapping[str, Array]]) -> None:
        self.samples: Iterator[Mapping[str, Array]] = iter(samples)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self.samples, None)


def quantize_by_onnxruntime(path: Path, samples: Sequence[Mapping[str, Array]], folder: Path) -> Path:
    """Its int8 version of a model, as its documentation recommends for processors with VNNI."""
    import onnxruntime
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnxruntime.set_default_logger_severity(4)  # it says much of no interest
    newer, prepared, made = (folder / f"{name}.onnx" for name in ("newer", "prepared", "onnxruntime_int8"))
    # Scales by channel came with operator set 13.
    onnx.save(onnx.version_converter.convert_version(onnx.load(path), 17), newer)
    quant_pre_process(str(newer), str(prepared), skip_symbolic_shape=True)
    q.quantize_static(
        str(prepared),
        str(made),
        _Reader(samples),
        quant_format=q.QuantFormat.QDQ,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        per_channel=True,
    )
    return made


def _samples(tensors: Sequence[Tensor]) -> list[dict[str, Array]]:
    return [seeded_inputs(tensors, seed=seed) for seed in range(1, _SAMPLES + 1)]


def stacked_samples(proto: onnx.ModelProto) -> dict[str, Array]:
    """Seeded inputs for calibration, along the first axis."""
    return _stacked(_samples(input_tensors(proto, None)))


def _stacked(samples: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def bench_model(path: Path, shapes: Shapes, options: argparse.Namespace, folder: Path) -> list[Row]:
    """A row a number of threads: seconds by runtime (`edgec int8`, `onnxruntime`, …) or the reason there are none, and
    bytes of our artifacts' weights by precision."""
    fixed = folder / "fixed.onnx"
    proto = fix_model(onnx.load(path), shapes)
    onnx.save(proto, fixed)
    tensors = input_tensors(proto, None)
    inputs = seeded_inputs(tensors)
    samples = _samples(tensors)
    artifacts, weights, failed = {}, {}, {}
    for precision in ("fp32", *options.precisions):
        try:
            artifact = compile_model(
                fixed,
                options.target,
                folder / f"{precision}.so",
                precision=precision,
                calibration=_stacked(samples) if precision == "int8" else None,
                verify=False,
            )
            artifacts[f"edgec {precision}"] = artifact
            weights[precision] = artifact.manifest["memory"]["weights_bytes"]
        except UserError as error:
            failed[f"edgec {precision}"] = {"reason": " ".join(error.what.split())[:200]}
    outputs: dict[str, tuple[int, ...]] = {value.name: () for value in proto.graph.output}
    rows = []
    for threads in options.threads:
        results: dict[str, Any] = dict(failed)
        with ExitStack() as stack:
            runs: dict[str, Callable[[], object]] = {}
            for name, artifact in artifacts.items():
                model = stack.enter_context(Model(artifact.path, threads=threads))
                runs[name] = lambda model=model: model.run(inputs)  # type: ignore[misc]
            for name in dict.fromkeys(["onnxruntime", *(RIVALS[p] for p in options.precisions)]):
                private = folder / f"{name.replace(' ', '-')}-{threads}"
                private.mkdir()
                try:
                    model_path = quantize_by_onnxruntime(fixed, samples, private) if name.endswith("int8") else fixed
                    case = Case(model_path, inputs, outputs, threads, private)
                    runs[name] = load(name.removesuffix(" int8"), case)
                    runs[name]()
                except Refused as refused:
                    results[name] = {"reason": str(refused)}
                except Exception as error:  # a quantiser or runtime may raise anything
                    results[name] = {"reason": f"{type(error).__name__}: {error}"[:200]}
                    runs.pop(name, None)
            measured = take_turns(runs, options.seconds)
        results |= {name: taken.summary() for name, taken in measured.items()}
        rows.append({"model": path.stem, "threads": threads, "weights": weights, "results": results})
    return rows


def quotients(row: Row, precisions: Sequence[str], statistic: str = "median") -> dict[str, float]:
    """`int8 / fp32` and the like: how many times our precision is as fast; `int8 weights` of float32's bytes."""
    found, results = {}, row.get("results", {})

    def time_of(name: str) -> float | None:
        taken: float | None = results.get(name, {}).get(statistic)
        return taken

    for precision in precisions:
        ours = time_of(f"edgec {precision}")
        for rival in ("edgec fp32", RIVALS[precision]):
            theirs = time_of(rival)
            if ours and theirs:
                found[f"{precision} / {rival}"] = theirs / ours
        if precision in row.get("weights", {}) and row["weights"].get("fp32"):
            found[f"{precision} weights"] = row["weights"][precision] / row["weights"]["fp32"]
    return found


def markdown(rows: Sequence[Row], precisions: Sequence[str]) -> str:
    """A line a model and thread count with milliseconds and quotients, then their geometric means and least."""
    measured = [row for row in rows if "results" in row]
    names = list(dict.fromkeys(name for row in measured for name in row["results"]))
    keys = list(dict.fromkeys(key for row in measured for key in quotients(row, precisions)))
    lines = ["| " + " | ".join(["model", "threads", *(f"{n}, ms" for n in names), *keys]) + " |"]
    lines.append("|" + "---|" * (2 + len(names) + len(keys)))
    for row in measured:
        by = quotients(row, precisions)
        times = [row["results"].get(n, {}).get("median") for n in names]
        cells = [f"{1e3 * t:.3g}" if t else "–" for t in times] + [f"{by[k]:.2f}" if k in by else "–" for k in keys]
        lines.append("| " + " | ".join([row["model"], str(row["threads"]), *cells]) + " |")
    lines += ["", "| threads | quotient | models | geometric mean | least | of |", "|---|---|---|---|---|---|"]
    for threads in sorted({row["threads"] for row in measured}):
        for key in keys:
            values = {r["model"]: quotients(r, precisions).get(key) for r in measured if r["threads"] == threads}
            known = {model: value for model, value in values.items() if value is not None}
            if known:
                least = min(known, key=lambda model: known[model])
                mean = geometric_mean(list(known.values()))
                lines.append(f"| {threads} | {key} | {len(known)} | {mean:.2f} | {known[least]:.2f} | {least} |")
    return "\n".join([*lines, *(f"- {reason}" for reason in not_measured(rows))]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x8x8", help="of a dynamic input")
    parser.add_argument("--precisions", nargs="+", choices=RIVALS, default=["int8"])
    parser.add_argument("--target", default="host", help="a target whose artifacts run here")
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each runtime, model and thread count")
    parser.add_argument("--out", type=Path, help="without its ending")
    options = parser.parse_args()
    rows: list[Row] = []
    for path, shapes in find_models(options.models, parse_shapes(options.shape)):
        # In a process of its own: runtimes crash, and leave threads and memory behind.
        with (
            tempfile.TemporaryDirectory(prefix="edgec-precision-") as folder,
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor,
        ):
            try:
                rows += executor.submit(bench_model, path, shapes, options, Path(folder)).result()
            except Exception as error:  # one model's fault does not end the others'
                rows.append({"model": path.stem, "reason": f"{type(error).__name__}: {error}"[:200]})
        print(f"{path.stem}: {rows[-1].get('reason', 'measured')}", file=sys.stderr, flush=True)
    table = markdown(rows, options.precisions)
    print(table)
    if options.out:
        report = {"target": load_target(options.target).to_dict(), "rows": rows}
        write_text(options.out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
        write_text(options.out.with_suffix(".md"), table)


if __name__ == "__main__":
    main()
