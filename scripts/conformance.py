#!/usr/bin/env python3
"""Runs the test cases that come with the onnx package through the compiler, and prints the score by operator.

    python scripts/conformance.py                            all cases; which do not pass is in EXPECTATIONS
    python scripts/conformance.py --only 'resize|topk'       cases by name, with the reason of each that does not pass
    python scripts/conformance.py --update                   writes what there is now to EXPECTATIONS
    python scripts/conformance.py --onnxruntime --table docs/conformance.md

Cases are of every operator, of small networks that were exported from PyTorch, and of well-known networks with made-up
weights. Each is compiled for this machine, loaded and run, and its results are compared by the case's own tolerance.
Inputs that say what shape a result has are made constants first (scripts/onnx_cases/cases.py has the list).

Exit status: 1 if a case passes that is not expected to, or the other way round.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from importlib import metadata
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler.versions import check_tvm
from scripts.onnx_cases.cases import collect
from scripts.onnx_cases.check import Progress, check_artifacts, check_onnxruntime
from scripts.onnx_cases.reasons import Expectations, expect
from scripts.onnx_cases.table import reason_table, score_table

EXPECTATIONS = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "expectations.json"
_DOCUMENT = """\
# Conformance

The test cases of onnx {onnx}, compiled for x86-64 and run: of each operator (with those of its function body), of small
networks exported from PyTorch, and of well-known networks with made-up weights (`light`). `scripts/conformance.py`
makes this page; `tests/conformance/expectations.json` names every case that does not pass, with its reason.

Inputs that say what shape a result has (axes, sizes, paddings, ...) are constants for edgec, which compiles for static
shapes.{peer}

{reasons}

{score}
"""
_PEER = """ onnxruntime {version} gets the cases as they are, even where they are stamped with a newer version of the
standard than it knows."""


def main() -> int:
    options = _arguments()
    cases = collect()
    if options.only:
        cases = [case for case in cases if re.search(options.only, case.name)]
    part, parts = options.shard
    cases = cases[part::parts]
    check_tvm()
    columns = {"edgec": check_artifacts(cases, _progress("edgec", len(cases)))}
    if options.onnxruntime:
        columns["onnxruntime"] = check_onnxruntime(cases, _progress("onnxruntime", len(cases)))
    results = columns["edgec"]
    if options.json:
        options.json.write_text(json.dumps(columns, indent=1), encoding="utf-8")
    if options.table:
        peer = _PEER.format(version=metadata.version("onnxruntime")) if options.onnxruntime else ""
        texts = {"reasons": reason_table(results), "score": score_table(cases, columns)}
        options.table.write_text(_DOCUMENT.format(onnx=onnx.__version__, peer=peer, **texts), encoding="utf-8")
    print(score_table(cases, columns), reason_table(results), sep="\n\n")
    if options.only:
        print("", *(f"{name}: {reason}" for name, reason in results.items() if reason), sep="\n")
    if options.update:
        expect(results).save(EXPECTATIONS)
    lines = Expectations.load(EXPECTATIONS).deviations(results)
    print("", *lines, sep="\n")
    return 1 if lines else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="REGEX", help="cases whose name has it")
    parser.add_argument("--shard", metavar="I/N", type=_shard, default=(0, 1), help="every Nth case, from the Ith on")
    parser.add_argument("--onnxruntime", action="store_true", help="also the score of onnxruntime")
    parser.add_argument("--table", metavar="FILE", type=Path, help="write the page for the documentation")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the reason of each case; null if it passes")
    parser.add_argument("--update", action="store_true", help="expect from now on what there is now")
    options = parser.parse_args()
    if (options.only or options.shard != (0, 1)) and (options.update or options.table):
        parser.error("--update and --table need all cases")
    return options


def _shard(text: str) -> tuple[int, int]:
    part, parts = map(int, text.split("/"))
    if not 0 <= part < parts:
        raise ValueError(text)
    return part, parts


def _progress(title: str, total: int) -> Progress:
    def show(count: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{title} {count}/{total}", end="" if count < total else "\n", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
