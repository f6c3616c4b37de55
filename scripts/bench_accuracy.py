#!/usr/bin/env python3
"""Accuracy by precision: `bench_accuracy.py CORPUS [--models shufflenet] [--precisions int8 bf16] [--out FILE]`.

CORPUS is a folder with labelled data and two files. `catalog.json`:

    {"models": [{
        "file": "vision/net.onnx",          relative to CORPUS
        "quantised": false,                 whether 8-bit arithmetic is in the file
        "metric": {"fn": "top1"}            a function of metrics.py; models without one are left out
    }]}

and `metrics.py`, whose code is run: `score, n, detail = METRICS[fn](run, CORPUS)` calls `run(feeds) -> [outputs in the
graph's order]` for each of its samples. Every other sample calibrates (--samples of them), the rest is scored: the
functions of metrics.py that --readers names give the samples, and are made to give one half of them. Where a metric
reads none through them, the same samples calibrate and are scored, and the table says so.

Of each model: onnxruntime in float32, our artifacts in float32 and in each of --precisions, and onnxruntime's own int8
of it from the same samples; of models that are quantised in the file, onnxruntime and our artifact. Beside the score,
how near the outputs are to onnxruntime's on the model: the labels that agree, and of each output the signal to noise
and the mean difference, in its own unit. Artifacts of other machines run in an emulator (scripts/userland).

Writes OUT.json and OUT.md (what is printed).
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler import UserError, compile_model
from compiler.files import write_text
from compiler.pipeline import PRECISIONS
from compiler.runtime.loader import Model
from compiler.target import Target, load_target
from compiler.verify.execute import NoExecutor, execute_each, find_executor
from compiler.verify.labels import class_output, labels_of
from compiler.verify.similarity import Similarity
from scripts.bench_precision import quantize_by_onnxruntime
from scripts.peers.measure import fix_model
from scripts.peers.table import not_measured

Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Array]
Run = Callable[[Feeds], list[Array]]
Row = dict[str, Any]

REFERENCE, PEER = "onnxruntime", "onnxruntime int8"
_READERS = ("_labels", "coco", "mnist", "kws_clips", "ad_frames")
_LOST = 0.005  # of a score, beyond which the table marks it
_SECONDS = 3600.0  # that an emulator may take for all samples


@dataclass
class Data:
    """A corpus's metrics, over one half of its samples at a time.

    Attributes:
        module: metrics.py.
        part: 0 for the samples that calibrate, 1 for those that are scored.
        most: how many of a reader's samples there are at most.
        swapped: whether the halves change places.
        halved: whether a reader gave one half since this was last made False.
    """

    folder: Path
    module: ModuleType
    part: int = 0
    most: int | None = None
    swapped: bool = False
    halved: bool = False

    def score(self, metric: str, run: Run, part: int) -> tuple[float, int]:
        """The score and how many samples it is of."""
        self.part, self.halved = part ^ self.swapped, False
        score, count, _ = self.module.METRICS[metric](run, str(self.folder))
        return float(score), int(count)

    def half(self, reader: Callable[..., Any]) -> Callable[..., Any]:
        """A reader of one half: of a list or array along the first axis, of each array of a tuple, of a generator."""

        def read(*arguments: Any) -> Any:
            self.halved = True
            given, stop = reader(*arguments), None if self.most is None else self.part + 2 * self.most
            if isinstance(given, tuple):  # repeated, as metrics may rely on how many there are
                return tuple(np.resize(one[self.part : stop : 2], one.shape) for one in given)
            if isinstance(given, list | np.ndarray):
                return given[self.part : stop : 2]
            return itertools.islice(given, self.part, stop, 2)

        return read


def read_corpus(
    folder: Path, readers: Sequence[str], most: int | None = None, swapped: bool = False
) -> tuple[list[Row], Data]:
    """The models that have a metric, and the data.

    Raises:
        UserError: it is no such folder.
    """
    for name in ("catalog.json", "metrics.py"):
        if not (folder / name).is_file():
            fix = "give a folder as `bench_accuracy.py --help` describes it; accuracy is measured on labelled data only"
            raise UserError(f"there is no {name}", str(folder), fix)
    catalog = json.loads((folder / "catalog.json").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("corpus_metrics", folder / "metrics.py")
    assert spec is not None and spec.loader is not None  # for it ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = Data(folder, module, most=most, swapped=swapped)
    for name in readers:
        if hasattr(module, name):
            setattr(module, name, data.half(getattr(module, name)))
    return [entry for entry in catalog["models"] if entry.get("metric")], data


@dataclass
class Nearness:
    """How near runs come to a reference's, which the first runs are."""

    names: Sequence[str]
    expected: list[list[Array]] = field(default_factory=list)

    def keep(self, run: Run) -> Run:
        """The reference, its outputs remembered."""

        def kept(feeds: Feeds) -> list[Array]:
            self.expected.append([np.array(one) for one in run(feeds)])
            return self.expected[-1]

        return kept

    def watch(self, run: Run) -> tuple[Run, Callable[[], Row]]:
        """Another run, and what tells how near it came. Runs are in the reference's order."""
        sums = [Similarity() for _ in self.names]
        absolute, sizes, agree, labelled = [0.0] * len(sums), [0] * len(sums), [0], [0]
        waiting = iter(self.expected)

        def watched(feeds: Feeds) -> list[Array]:
            made, expected = run(feeds), next(waiting)
            for place, (a, b) in enumerate(zip(made, expected, strict=True)):
                if b.dtype.kind == "f" and a.shape == b.shape:
                    sums[place].add(a, b)
                    absolute[place] += float(np.abs(a - b).sum())
                    sizes[place] += b.size
            chosen = class_output(dict(zip(self.names, expected, strict=True)))
            if chosen is not None:
                place = list(self.names).index(chosen)
                found, wanted = labels_of(made[place]), labels_of(expected[place])
                agree[0], labelled[0] = agree[0] + int(np.sum(found == wanted)), labelled[0] + len(wanted)
            return made

        def summary() -> Row:
            outputs = {
                name: {"snr_db": round(one.snr, 1), "mean_difference": total / size}
                for name, one, total, size in zip(self.names, sums, absolute, sizes, strict=True)
                if size
            }
            return {"outputs": outputs} | ({"labels": agree[0] / labelled[0]} if labelled[0] else {})

        return watched, summary


def run_by_onnxruntime(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: list(session.run(None, dict(feeds)))


def run_artifact(path: Path, target: Target, names: Sequence[str], feeds: Sequence[Feeds], stack: ExitStack) -> Run:
    """The artifact's run: in this process, or in an emulator, which runs all of `feeds` at once.

    Raises:
        NoExecutor: it does not run here.
    """
    executor = find_executor(target.os, target.machine, target)
    if executor.name == "host":
        model = stack.enter_context(Model(path))

        def here(given: Feeds) -> list[Array]:
            made = model.run(dict(given))
            return [made[name] for name in names]

        return here
    results = iter(zip(feeds, execute_each(executor, path, feeds, timeout=_SECONDS), strict=True))

    def replay(given: Feeds) -> list[Array]:
        ran, made = next(results)
        if any(not np.array_equal(ran[name], array) for name, array in given.items()):
            raise NoExecutor("what this model reads depends on what it made before: it is scored on this machine only")
        return [made[name] for name in names]

    return replay


def score_model(entry: Row, options: argparse.Namespace, scratch: Path) -> Row:
    """A row: scores by runtime and precision, with the reason where there is none."""
    _, data = read_corpus(options.corpus, options.readers, options.scored, options.swap)
    metric, path, target = entry["metric"]["fn"], options.corpus / entry["file"], load_target(options.target)
    reference = run_by_onnxruntime(path)
    seen: list[Feeds] = []

    def record(feeds: Feeds) -> list[Array]:
        seen.append({name: np.array(array) for name, array in feeds.items()})
        return reference(feeds)

    data.score(metric, record, 0)
    shapes = {name: array.shape for name, array in seen[0].items()}
    if any({name: array.shape for name, array in feeds.items()} != shapes for feeds in seen):
        raise UserError("the shapes of its inputs differ from run to run, and artifacts are made for one", str(path))
    fixed = scratch / "fixed.onnx"
    proto = fix_model(onnx.load(path), shapes)
    onnx.save(proto, fixed)
    places = np.linspace(0, len(seen) - 1, min(options.samples, len(seen))).round().astype(int)
    samples = [seen[place] for place in places]
    seen.clear()
    names = [value.name for value in proto.graph.output]
    nearness = Nearness(names)
    score, count = data.score(metric, nearness.keep(record), 1)
    row: Row = {"model": path.stem, "metric": metric, "scored": count, "samples": len(samples), "halves": data.halved}
    results: dict[str, Row] = {REFERENCE: {"score": score}}
    scored = list(seen)

    def measure(name: str, load: Callable[[], Run]) -> None:
        begin = time.perf_counter()
        try:
            run, summary = nearness.watch(load())
            score, _ = data.score(metric, run, 1)
            results[name] = {"score": score, **summary()}
        except (UserError, NoExecutor) as error:
            results[name] = {"reason": " ".join(str(error).split())[:300]}
        except Exception as error:  # a quantiser or runtime may raise anything
            results[name] = {"reason": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        results[name]["seconds"] = round(time.perf_counter() - begin, 1)

    with ExitStack() as stack:
        for precision in ("fp32",) if entry["quantised"] else ("fp32", *options.precisions):

            def ours(precision: str = precision) -> Run:
                out, given = scratch / f"{precision}.so", samples if precision in ("int8", "fp16") else None
                compile_model(fixed, target, out, precision=precision, calibration=given, verify=False)
                return run_artifact(out, target, names, scored, stack)

            measure("edgec in the file" if entry["quantised"] else f"edgec {precision}", ours)
        if not entry["quantised"] and "int8" in options.precisions:
            measure(PEER, lambda: run_by_onnxruntime(quantize_by_onnxruntime(fixed, samples, scratch)))
    return row | {"results": results}


def markdown(rows: Sequence[Row]) -> str:
    """A line a model: scores, those far from onnxruntime's in float marked, and how near int8's outputs are."""
    measured = [row for row in rows if "results" in row]
    names = list(dict.fromkeys(name for row in measured for name in row["results"]))
    lines = ["| " + " | ".join(["model", "metric", "scored", "calibrated on", *names]) + " |"]
    lines.append("|" + "---|" * (4 + len(names)))
    for row in measured:
        float_score = row["results"][REFERENCE]["score"]
        cells = []
        for name in names:
            score = row["results"].get(name, {}).get("score")
            far = score is not None and abs(score - float_score) > _LOST * max(1, abs(float_score))
            cells.append("–" if score is None else f"**{score:.4f}**" if far else f"{score:.4f}")
        used = f"{row['samples']} others" if row["halves"] else f"{row['samples']} of them"
        lines.append("| " + " | ".join([row["model"], row["metric"], str(row["scored"]), used, *cells]) + " |")
    lines += ["", "Beside onnxruntime's outputs in float:", ""]
    lines += ["| model | runtime | equal labels | output: signal to noise, dB; mean difference |", "|---|---|---|---|"]
    for row in measured:
        for name, result in row["results"].items():
            if "outputs" in result:
                near = "; ".join(
                    f"{n}: {o['snr_db']}, {o['mean_difference']:.3g}" for n, o in list(result["outputs"].items())[:6]
                )
                labels = f"{result['labels']:.4f}" if "labels" in result else "–"
                lines.append(f"| {row['model']} | {name} | {labels} | {near} |")
    return "\n".join([*lines, *(f"- {reason}" for reason in not_measured(rows))]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--models", nargs="+", default=[""], metavar="TEXT", help="those whose file has it in its name")
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=["int8"])
    parser.add_argument("--target", default="host", help="a target whose artifacts run here, or in an emulator")
    parser.add_argument("--samples", type=int, default=64, help="that calibrate, at most")
    parser.add_argument("--scored", type=int, help="samples of each reader, at most")
    parser.add_argument("--swap", action="store_true", help="calibrate with the half that is scored without this")
    parser.add_argument("--readers", nargs="*", default=_READERS, help="functions of metrics.py that give samples")
    parser.add_argument("--out", type=Path, help="without its ending")
    options = parser.parse_args()
    try:
        entries, _ = read_corpus(options.corpus, options.readers)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    rows: list[Row] = []
    for entry in entries:
        if not any(text in entry["file"] for text in options.models):
            continue
        # In a process of its own: runtimes crash, and leave threads and memory behind.
        with (
            tempfile.TemporaryDirectory(prefix="edgec-accuracy-") as folder,
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor,
        ):
            try:
                rows.append(executor.submit(score_model, entry, options, Path(folder)).result())
            except Exception as error:  # one model's fault does not end the others'
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
                rows.append({"model": Path(entry["file"]).stem, "reason": reason})
        print(f"{entry['file']}: {rows[-1].get('reason', 'measured')}", file=sys.stderr, flush=True)
    if not rows:
        print(f"no model of {options.corpus} has {' or '.join(options.models)} in its name", file=sys.stderr)
        return 2
    table = markdown(rows)
    print(table)
    if options.out:
        report = {"target": load_target(options.target).to_dict(), "rows": rows}
        write_text(options.out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
        write_text(options.out.with_suffix(".md"), table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
