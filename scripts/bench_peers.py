#!/usr/bin/env python3
"""Latency of our artifacts beside other runtimes', float32: `bench_peers.py MODEL.onnx… [--threads 1 2] [--out peers]`.

All run in one process, in turns of a tenth of a second, on the same seeded inputs, after their results were found to
agree with ours. A folder given instead of a model stands for all of its `.onnx` files, below it too; with a
`catalog.json` (see corpus_table.py) dynamic inputs get the shapes given there, and its quantised models are left out.
With --rows one artifact takes any number of rows, as classical models (classical_models.py) do, and each of these is
measured. What cannot be measured is named with the reason. `pip install '.[peers]'` brings the runtimes and what draws
pictures.

Writes OUT.json (every figure: quartiles, least, processor time, cores at work) and OUT.md (what is
printed). With --pictures also what the machine can do at most and each kernel's part in it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler import UserError
from compiler.files import write_text
from compiler.frontend.shapes import parse_shapes
from compiler.report.rates import measure_rates
from compiler.target import load_target
from compiler.versions import EDGEC
from scripts.peers.measure import OURS, Plan, Row, Shapes, bench_model
from scripts.peers.runtimes import PEERS
from scripts.peers.table import markdown, summarize

STATISTICS = ("median", "p25", "min", "processor")


def find_models(paths: Iterable[Path], shapes: Shapes) -> list[tuple[Path, Shapes]]:
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
            found += [(model, shapes) for model in sorted(path.rglob("*.onnx"))]
        else:
            found.append((path, shapes))
    return found


def bench(path: Path, shapes: Shapes, plan: Plan) -> list[Row]:
    """The rows of one model, measured in a process of its own: runtimes crash, and leave threads and memory behind."""
    with tempfile.TemporaryDirectory(prefix="edgec-peers-") as folder:
        executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return executor.submit(bench_model, path, shapes, plan, Path(folder)).result()
        except UserError as error:
            reason = " ".join(error.what.split())
        except BrokenProcessPool:
            reason = "the process died"
        except Exception as error:  # one model's fault does not end the others'
            reason = f"{type(error).__name__}: {error}"
        finally:
            executor.shutdown()
    return [{"model": path.stem, "reason": reason[:200]}]


def make_report(rows: list[Row], plan: Plan, statistic: str) -> dict[str, Any]:
    """Everything that is known, for JSON."""
    versions = {name: PEERS[name].version for name in plan.peers if not PEERS[name].missing}
    return {
        "machine": load_target("host").to_dict(),
        "rates": {threads: rates.to_dict() for threads, rates in (plan.rates or {}).items()},
        "versions": {OURS: EDGEC, **versions},
        "peers": list(plan.peers),
        "statistic": statistic,
        "rows": rows,
        "summary": summarize(rows, statistic),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x8x8", help="of a dynamic input")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rows", nargs="+", type=int, default=[], metavar="N", help="of open first axes; one artifact")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["onnxruntime", "openvino"])
    parser.add_argument("--seconds", type=float, default=1.5, help="for each runtime, model and thread count")
    parser.add_argument(
        "--statistic",
        choices=STATISTICS,
        default="median",
        help="that tables and pictures show; on a busy machine `min`, or for one thread `processor`",
    )
    parser.add_argument("--out", type=Path, help="without its ending")
    parser.add_argument("--pictures", type=Path, help="folder for charts of the ratios and a roofline of each model")
    options = parser.parse_args()
    if options.rows and options.pictures:
        parser.error("--pictures needs models of fixed shapes: leave --rows out")
    return options


def main() -> None:
    options = parse_arguments()
    rates = {threads: measure_rates(threads) for threads in options.threads} if options.pictures else None
    plan = Plan(tuple(options.threads), tuple(options.peers), options.seconds, rates, tuple(options.rows))
    rows: list[Row] = []
    for path, shapes in find_models(options.models, parse_shapes(options.shape)):
        rows += bench(path, shapes, plan)
        print(f"{path.stem}: {rows[-1].get('reason', 'measured')}", file=sys.stderr, flush=True)
    report = make_report(rows, plan, options.statistic)
    table = markdown(report)
    print(table)
    if options.out:
        write_text(options.out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
        write_text(options.out.with_suffix(".md"), table)
    if options.pictures:
        from scripts.peers.pictures import draw

        draw(report, options.pictures)


if __name__ == "__main__":
    main()
