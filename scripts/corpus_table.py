#!/usr/bin/env python3
"""Compiles every model of a folder for some targets, runs it on golden inputs, writes the results as a table.

    python scripts/corpus_table.py [FOLDER] [--target NAME]... [--only TEXT] [--out corpus]

FOLDER (default: the environment's EDGEC_CORPUS) has a `catalog.json`:

    {"models": [{
        "file": "vision/net.onnx",                    relative to FOLDER, as are all paths
        "quantised": false,
        "op_histogram": {"Conv": 12, "ai.onnx.ml.Scaler": 1},
        "inputs": [{"name": "x", "golden_shape": [1, 3, 224, 224], "dynamic": []}],   axes without a size
        "golden": {"file": "vision/net.golden.npz"}
    }]}

and each golden file the arrays `in_names`, `in_0`, `in_1` ..., `out_names`, `out_0` ...: inputs, and the
outputs that another runtime computed from them. Targets of other machines run in qemu (scripts/userland).

Writes OUT.json and OUT.md, and prints the table. Exit status: 1 if a model did not compile, or ran
with wrong results.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler.errors import UserError
from compiler.pipeline import compile_model
from compiler.target import load_target
from compiler.verify.compare import compare
from compiler.verify.execute import NoExecutor, execute, find_executor
from compiler.versions import EDGEC, TVM

Entry = dict[str, Any]
COLUMNS = [
    ("error", "{:.1e}", 1),
    ("artifact_bytes", "{:.2f}", 1e-6),
    ("arena_bytes", "{:.2f}", 1e-6),
    ("compile_seconds", "{:.1f}", 1),
]
DEFAULT_TARGETS = ["host", "raspberry-pi-5"]


def read_golden(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and expected outputs by name."""
    with np.load(path, allow_pickle=False) as golden:
        names = {kind: [str(name) for name in golden[f"{kind}_names"]] for kind in ("in", "out")}
        inputs, outputs = (
            {name: golden[f"{kind}_{i}"] for i, name in enumerate(names[kind])} for kind in ("in", "out")
        )
    return inputs, outputs


class Workers:
    """Checks models in a process of its own, which may crash or hang."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.pool: ProcessPoolExecutor | None = None

    def check(self, folder: Path, entry: Entry, target_name: str) -> Entry:
        """One row: `status` is `pass`, `differs`, `refused` (with a reason), `crashed` or `not run`."""
        row: Entry = {"model": entry["file"], "target": target_name}
        if self.pool is None:
            self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with tempfile.TemporaryDirectory(prefix="edgec-corpus-") as scratch:
            future = self.pool.submit(_check_model, folder, entry, target_name, Path(scratch))
            try:
                return row | future.result(self.timeout)
            except BrokenProcessPool:
                reason = "the process died"
            except FutureTimeout:
                reason = f"not done after {self.timeout:.0f} s"
                for process in (self.pool._processes or {}).values():
                    process.kill()
        self.close()
        return row | {"status": "crashed", "reason": reason}

    def close(self) -> None:
        """Ends the process; left to the interpreter's exit, its pipe may be closed too early."""
        if self.pool is not None:
            self.pool.shutdown()
            self.pool = None


def _check_model(folder: Path, entry: Entry, target_name: str, scratch: Path) -> Entry:
    row: Entry = {}
    begin = time.perf_counter()
    try:
        shapes = {t["name"]: t["golden_shape"] for t in entry["inputs"] if t["dynamic"]}
        path, out = folder / entry["file"], scratch / "model.so"
        artifact = compile_model(path, target_name, out, shapes, verify=False)
    except UserError as error:
        return row | {"status": "refused", "reason": str(error)}
    except Exception as error:  # a table shows every fault; none may end it
        return row | {"status": "crashed", "reason": f"{type(error).__name__}: {error}"}
    row["compile_seconds"] = round(time.perf_counter() - begin, 2)
    row["artifact_bytes"] = artifact.size
    row["arena_bytes"] = artifact.manifest["memory"]["arena_bytes"]
    row["plain_kernels"] = len(artifact.unscheduled)
    try:
        target = load_target(target_name)
        executor = find_executor(target.os, target.machine, target)
    except NoExecutor as error:
        return row | {"status": "not run", "reason": str(error)}
    inputs, expected = read_golden(folder / entry["golden"]["file"])
    try:
        differences = compare(execute(executor, artifact.path, inputs), expected)
    except Exception as error:
        return row | {"status": "crashed", "reason": f"{type(error).__name__}: {error}"}
    wrong = [str(difference) for difference in differences if not difference]
    row["error"] = max((difference.error for difference in differences), default=0.0)
    row["status"] = "differs" if wrong else "pass"
    if wrong:
        row["reason"] = "; ".join(wrong)
    return row


def format_table(rows: list[Entry], targets: list[str]) -> str:
    """A Markdown table: a line a model, its columns by target."""
    head = ["model", *(f"{t}: result | error | MB | arena MB | compile s" for t in targets)]
    lines = ["| " + " | ".join(head) + " |", "|---" * (1 + 5 * len(targets)) + "|"]
    cells = {(row["model"], row["target"]): row for row in rows}
    for model in dict.fromkeys(row["model"] for row in rows):
        line = [model]
        for target in targets:
            row = cells[model, target]
            line += [_format_result(row), *(_format(row, *column) for column in COLUMNS)]
        lines.append("| " + " | ".join(line) + " |")
    passed = [f"{t}: {sum(r['status'] == 'pass' for r in rows if r['target'] == t)}" for t in targets]
    total = len({row["model"] for row in rows})
    return "\n".join([*lines, "", f"Passed of {total} models: {', '.join(passed)}. Errors are relative.", ""])


def _format_result(row: Entry) -> str:
    reason = " ".join(row.get("reason", "").split()).replace("|", "\\|")
    return f"{row['status']}: {reason[:160]}" if reason else str(row["status"])


def _format(row: Entry, key: str, form: str, scale: float) -> str:
    return form.format(row[key] * scale) if key in row else ""


def parse_arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get("EDGEC_CORPUS"))
    parser.add_argument("--target", action="append", help="may be given several times")
    parser.add_argument("--only", default="", help="models whose file name has this text")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one model and target")
    parser.add_argument("--out", type=Path, default=Path("corpus"), help="without its ending")
    arguments = parser.parse_args()
    if arguments.folder is None:
        parser.error("give a folder, or set EDGEC_CORPUS")
    arguments.folder = Path(arguments.folder)
    arguments.target = arguments.target or DEFAULT_TARGETS
    return arguments


def main() -> int:
    arguments = parse_arguments()
    catalog = json.loads((arguments.folder / "catalog.json").read_text(encoding="utf-8"))
    entries = [entry for entry in catalog["models"] if arguments.only in entry["file"]]
    if not entries:
        sys.exit(f"no model of {arguments.folder} has {arguments.only!r} in its name")
    rows, workers = [], Workers(arguments.timeout)
    for entry in entries:
        for target in arguments.target:
            rows.append(workers.check(arguments.folder, entry, target))
            print(f"{entry['file']} for {target}: {_format_result(rows[-1])}", file=sys.stderr, flush=True)
    workers.close()
    table = format_table(rows, arguments.target)
    setting = {"edgec": EDGEC, "tvm": TVM, "machine": platform.machine(), "python": platform.python_version()}
    text = json.dumps({"setting": setting, "rows": rows}, indent=1)
    arguments.out.with_suffix(".json").write_text(text + "\n")
    arguments.out.with_suffix(".md").write_text(table)
    print(table)
    failed = [row for row in rows if row["status"] not in ("pass", "not run")]
    for row in failed:
        print(f"FAILED, and must pass: {row['model']} for {row['target']}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
