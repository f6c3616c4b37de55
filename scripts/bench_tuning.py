#!/usr/bin/env python3
"""What tuning gains: `bench_tuning.py MODEL.onnx… [--precisions fp32 int8] [--budget 10m] [--logs DIR] [--out FILE]`.

Of each model and precision, one after the other, so that nothing else runs: the whole model untuned and tuned, in turns
at the end of the session; how many times as fast its kernels could be at most by the roofline; how many schedules were
measured, in what time; and how much of the gain of its kernels was there after three tenths of the budget. Records go
to --logs, from where models find those of the ones before; without it each model starts from those alone that come with
edgec (for `host`, none do). Samples for int8 are the seeded inputs.

Writes OUT.json, with the gain over time, and OUT.md (what is printed).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler.cli.tune import parse_budget
from compiler.files import write_text
from compiler.frontend.prepare import load_model
from compiler.frontend.shapes import parse_shapes
from compiler.pipeline import quantize_for, resolve
from compiler.target import load_target
from scripts.bench_peers import find_models
from scripts.bench_precision import stacked_samples
from scripts.peers.measure import Shapes, fix_model
from scripts.peers.table import geometric_mean, not_measured

_EARLY = 0.3  # of the budget

Row = dict[str, Any]


def tune_model(path: Path, shapes: Shapes, precision: str, logs: Path, options: argparse.Namespace) -> Row:
    """Tunes once."""
    from compiler.build.cache import Cache
    from compiler.tune.boards import local_board
    from compiler.tune.fleet import Fleet
    from compiler.tune.records import Log
    from compiler.tune.session import tune

    with tempfile.TemporaryDirectory(prefix="edgec-tuning-") as name:
        folder = Path(name)
        proto = fix_model(onnx.load(path), shapes)
        onnx.save(proto, folder / path.name)
        model = load_model(folder / path.name)
        how = resolve(model, options.target, None, {}, False, None, True, precision, logs, options.threads)
        if precision == "int8":
            model, how = quantize_for(model, how, stacked_samples(proto)).compiled(how)
        log = Log(logs, how.target.name)
        known = len(log.read("trial"))
        fleet, budget = Fleet([local_board(options.threads, how.target)]), parse_budget(options.budget)
        begin = time.perf_counter()
        try:
            result = tune(model, how, fleet, log, budget, cache=Cache(folder))
        finally:
            fleet.close()
        return {
            "model": path.stem,
            "precision": precision,
            "known": known,
            "budget": budget,
            "seconds": time.perf_counter() - begin,
            "result": result.to_dict(),
        }


def early_share(row: Row) -> float | None:
    """How much of what the search gained was there after three tenths of the budget."""
    curve = row["result"]["curve"]
    if not curve or not (gained := curve[-1]["untuned"] - curve[-1]["best"]) > 0:
        return None
    early = [at for at in curve if at["elapsed"] <= _EARLY * row["budget"]]
    return float((early[-1]["untuned"] - early[-1]["best"]) / gained) if early else 0.0


def markdown(rows: Sequence[Row]) -> str:
    """A line a model, then the geometric means."""
    names = ["model", "precision", "untuned, ms", "tuned, ms", "times as fast", "roofline", "kernels"]
    names += ["measured", "seconds", "early"]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    measured = [row for row in rows if "result" in row]
    for row in measured:
        result, early = row["result"], early_share(row)
        cells = [f"{1e3 * result[name]:.3g}" for name in ("untuned", "tuned")]
        cells += [f"{gain_of(row):.3f}", f"{result['bound']:.2f}", str(len(result["kernels"])), str(result["trials"])]
        cells += [f"{row['seconds']:.0f}", "–" if early is None else f"{early:.2f}"]
        lines.append("| " + " | ".join([row["model"], row["precision"], *cells]) + " |")
    lines += ["", "| precision | models | geometric mean | least |", "|---|---|---|---|"]
    for precision in dict.fromkeys(row["precision"] for row in measured):
        gains = [gain_of(row) for row in measured if row["precision"] == precision]
        lines.append(f"| {precision} | {len(gains)} | {geometric_mean(gains):.3f} | {min(gains):.3f} |")
    return "\n".join([*lines, *(f"- {reason}" for reason in not_measured(rows))]) + "\n"


def gain_of(row: Row) -> float:
    """How many times as fast the model is as untuned; as fast where nothing was applied."""
    return 1 / float(row["result"]["ratio"]) if row["result"]["applied"] else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x8x8", help="of a dynamic input")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "int8", "bf16", "fp16"), default=["fp32", "int8"])
    parser.add_argument("--budget", default="10m", help="for each model and precision")
    parser.add_argument("--target", default="host", help="a target whose artifacts run here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--logs", type=Path, help="folder of the records, which later models start from")
    parser.add_argument("--out", type=Path, help="without its ending")
    options = parser.parse_args()
    rows: list[Row] = []
    for path, shapes in find_models(options.models, parse_shapes(options.shape)):
        for precision in options.precisions:
            with (
                tempfile.TemporaryDirectory(prefix="edgec-logs-") as folder,
                ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor,
            ):
                logs = options.logs or Path(folder)
                try:
                    rows.append(executor.submit(tune_model, path, shapes, precision, logs, options).result())
                except Exception as error:  # one model's fault does not end the others'
                    reason = f"{type(error).__name__}: {error}"[:200]
                    rows.append({"model": path.stem, "precision": precision, "reason": reason})
            print(f"{path.stem} {precision}: {rows[-1].get('reason', 'tuned')}", file=sys.stderr, flush=True)
            if options.out:
                report = {"target": load_target(options.target).to_dict(), "budget": options.budget, "rows": rows}
                write_text(options.out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
                write_text(options.out.with_suffix(".md"), markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
