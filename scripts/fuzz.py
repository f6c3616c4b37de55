#!/usr/bin/env python3
"""Random models: valid ones must compute what the reference does, and of damaged ones only a UserError may come.

    python scripts/fuzz.py --count 2000 --seed 7            random graphs, compiled for this machine and run
    python scripts/fuzz.py --damaged 2000 --seed 7          files of such models with bytes and fields changed
    python scripts/fuzz.py --only 7-123                     one of them again, by the name that was printed
    python scripts/fuzz.py --networks 100 --precisions int8 bf16
                                                            networks of layers, in these precisions
    python scripts/fuzz.py --only 7-123/int8                one of those again

The same seed gives the same models. Each that fails is reduced and written to `--save`; one that shows a mistake of the
compiler goes into tests/fuzz/regressions.

Exit status: 1 if a result is wrong, or anything but a UserError comes out.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler.versions import check_tvm
from scripts.fuzzing.damage import check_damaged, damaged
from scripts.fuzzing.generate import generate
from scripts.fuzzing.precisions import LEAST, check_precisions
from scripts.fuzzing.reduce import reduce, save
from scripts.onnx_cases.cases import Case
from scripts.onnx_cases.check import Results, check_artifacts
from scripts.onnx_cases.reasons import kind_of, summary

_CHUNK = 64


def main() -> int:
    options = _arguments()
    check_tvm()
    end = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    given = [name.removeprefix("fuzz-") for name in options.only or ()]
    graphs = [name for name in given if "/" not in name]
    networks = [name for name in given if "/" in name]
    if not given and options.networks:
        networks = [f"{options.seed}-{i}/{one}" for i in range(options.networks) for one in options.precisions]
    elif not given and not options.damaged:
        graphs = [f"{options.seed}-{i}" for i in range(options.count)]
    failures = 0
    if graphs:
        failures += _graphs(graphs, end, options.save)
    if networks:
        failures += _networks(networks, end)
    if options.damaged:
        results = check_damaged(damaged(str(options.seed), options.damaged))
        bad = {name: reason for name, reason in results.items() if reason}
        print(f"{len(results)} damaged files: {len(bad)} neither refused nor compiled")
        print(*(f"  {name}: {reason}" for name, reason in bad.items()), sep="\n")
        failures += len(bad)
    return 1 if failures else 0


def _graphs(names: list[str], end: float, folder: Path | None) -> int:
    results: Results = {}
    failed: list[Case] = []
    nodes = 0
    for first in range(0, len(names), _CHUNK):
        if time.monotonic() > end:
            break
        cases = [generate(name) for name in names[first : first + _CHUNK]]
        nodes += sum(len(case.model.graph.node) for case in cases)
        made = check_artifacts(cases)
        results |= made
        for case in cases:
            reason = made[case.name]
            if reason is not None and kind_of(reason) != "refused":
                failed.append(case)
                print(f"{case.name}: {reason}", flush=True)
    kinds = Counter("passed" if reason is None else kind_of(reason) for reason in results.values())
    print(f"{len(results)} graphs of {nodes} nodes: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
    refused = Counter(summary(reason) for reason in results.values() if reason and kind_of(reason) == "refused")
    print(*(f"  {count} x {reason}" for reason, count in refused.most_common()), sep="\n")
    for case in failed if folder else ():
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        smallest = reduce(case, _fails_like(results[case.name] or ""))
        save(smallest, folder / f"{case.name}.textproto")
        print(f"{case.name}: {', '.join(node.op_type for node in smallest.model.graph.node)}")
    return len(failed)


def _networks(names: list[str], end: float) -> int:
    results: Results = {}
    for first in range(0, len(names), _CHUNK):
        if time.monotonic() > end:
            break
        made = check_precisions(names[first : first + _CHUNK])
        results |= made
        print(*(f"{name}: {reason}" for name, reason in made.items() if reason), sep="\n", flush=True)
    failed = [name for name, reason in results.items() if reason is not None and kind_of(reason) != "refused"]
    refused = sum(reason is not None for reason in results.values()) - len(failed)
    print(f"{len(results)} networks in a precision: {len(failed)} failed, {refused} refused")
    return len(failed)


def _fails_like(reason: str) -> Callable[[Case], bool]:
    """Whether a case fails in the same way: the same kind, and the same error but for numbers."""

    def cause(text: str) -> str:
        return re.sub(r"\d+", "", text)[:60] if kind_of(text) == "error" else kind_of(text)

    def fails(case: Case) -> bool:
        made = check_artifacts([case])[case.name]
        return made is not None and cause(made) == cause(reason)

    return fails


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="valid models")
    parser.add_argument("--networks", type=int, default=0, help="networks of layers, in place of valid models")
    parser.add_argument("--precisions", nargs="+", choices=LEAST, default=["fp32", "int8"], help="of the networks")
    parser.add_argument("--damaged", type=int, default=0, help="damaged files, in place of valid models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="stop after the first batch that ends later")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these valid models only, as 7-123")
    parser.add_argument("--save", metavar="FOLDER", type=Path, help="reduce what fails, and write it there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
