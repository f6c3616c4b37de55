#!/usr/bin/env python3
"""Trains classical estimators, compiles what their exporters write, and compares the results with onnxruntime's.

    python scripts/estimators.py                             all, for this machine
    python scripts/estimators.py --only 'SVC|Neighbors'      some, with the reason of each that does not pass
    python scripts/estimators.py --target host --target raspberry-pi-4 --table docs/estimators.md

Estimators are scikit-learn's, XGBoost's and LightGBM's, trained on scikit-learn's data sets, and models made by hand.
Labels have to be onnxruntime's in every row, scores within 1e-5 of its (relative, where they are above 1).
Targets of other machines run in qemu (scripts/userland).

Exit status: 1 if something does not pass.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler.target import load_target
from compiler.versions import check_tvm
from scripts.classical.case import FULL, SMALL
from scripts.classical.catalogue import collect
from scripts.classical.check import Result, check
from scripts.classical.reference import TOLERANCE
from scripts.classical.table import by_reason, table

_DOCUMENT = """\
# Estimators

Classical models, trained by {libraries}, exported to ONNX, compiled and run:
`host` is {host}, others are run by qemu, with a part of the estimators. Forests have {trees} trees, inputs up to
{rows} rows. A case passes if its labels are those of onnxruntime {onnxruntime} in every row and its scores within
{tolerance:.0e} (relative to the larger of 1 and the score); on `host` with all rows, some, one and none.
`scripts/estimators.py` makes this page.

{table}
"""
_PACKAGES = ("scikit-learn", "xgboost-cpu", "lightgbm")


def main() -> int:
    options = _arguments()
    check_tvm()
    cases = [case for case in collect() if re.search(options.only, case.name)]
    if not cases:
        sys.exit(f"no estimator's name has {options.only!r}")
    columns: dict[str, list[Result]] = {}
    scale = SMALL if options.small else FULL
    for name in options.target:
        some = cases[:: 1 if name == "host" else options.every]
        columns[name] = check(some, load_target(name), scale, functools.partial(_progress, name))
    text = table(columns)
    print(text)
    for name, results in columns.items():
        print("", f"{name}:", by_reason(results), sep="\n")
    if options.table:
        options.table.write_text(
            _DOCUMENT.format(table=text, trees=scale.trees, rows=scale.rows, **_facts()), encoding="utf-8"
        )
    return int(any(result.reason for results in columns.values() for result in results))


def _progress(target: str, result: Result) -> None:
    print(f"{target}: {result.case.name}: {result.reason or 'passes'}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", metavar="NAME", help="may be given several times; default: host")
    parser.add_argument("--only", metavar="REGEX", default="", help="estimators whose name has it")
    parser.add_argument("--every", metavar="N", type=int, default=1, help="for other targets than host, only each Nth")
    parser.add_argument("--small", action="store_true", help="smaller forests and fewer rows, as the tests have")
    parser.add_argument("--table", metavar="FILE", type=Path, help="write the page for the documentation")
    options = parser.parse_args()
    options.target = options.target or ["host"]
    options.target.sort(key=lambda name: name != "host")
    if options.table and options.only:
        parser.error("--table needs all estimators")
    return options


def _facts() -> dict[str, object]:
    libraries = ", ".join(f"{package} {metadata.version(package)}" for package in _PACKAGES)
    return {
        "libraries": libraries,
        "host": load_target("host").core,
        "onnxruntime": metadata.version("onnxruntime"),
        "tolerance": TOLERANCE,
    }


if __name__ == "__main__":
    sys.exit(main())
