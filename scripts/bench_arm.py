"""Instructions of an inference on ARM boards, ours beside onnxruntime's: the second half of scripts/bench_arm.

    scripts/bench_arm MODEL.onnx… [--target raspberry-pi-4…] [--kernels] [--json OUT.json]

Both run in qemu as the board's core, one thread, called from Python on the same seeded inputs; what a run after
the warm-up executes is counted. The ratio is onnxruntime's count by ours, more is better. Counts repeat within 1 %.
They are not time: a miss in a cache and a division count as one, as an addition does.

A folder stands for its models, as for bench_peers.py; `--shape NAME=1x3x8x8` fixes dynamic inputs of models given
by name. `--kernels` adds a table of our kernels: how often each ran, its instructions, and how many it needs for a
vector multiply-add.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compiler import UserError, load_target
from compiler.emulation.emulator import Emulator, Run, emulate
from compiler.emulation.profile import CLASSES, count_classes
from compiler.files import write_text
from compiler.frontend.prepare import Tensor, load_model
from compiler.frontend.shapes import parse_shapes
from compiler.pipeline import Artifact, Clock, compile_with, resolve
from compiler.process import CommandError
from compiler.verify.compare import compare
from compiler.verify.vectors import seeded_inputs
from scripts.bench_peers import find_models
from scripts.peers.measure import Shapes

Row = dict[str, Any]
DEFAULT_TARGETS = ["raspberry-pi-4", "raspberry-pi-5"]


def compile_with_symbols(path: Path, target: str, out: Path, shapes: Shapes) -> Artifact:
    """The artifact of `compile_model`, its code the same, with the names of its functions."""
    model = load_model(path)
    options = resolve(model, target, out, shapes, False, None, True)
    return compile_with(model, replace(options, keep_symbols=True), Clock())


def measure(path: Path, shapes: Shapes, target: str, emulator: Emulator, folder: Path) -> Row:
    """A row: executed instructions of both, ours also by kernel.

    Raises:
        UserError: the model cannot be compiled, or the results of both differ.
        CommandError: one of them failed in the emulator.
    """
    artifact = compile_with_symbols(path, target, folder / f"{path.stem}.so", shapes)
    tensors = [Tensor(t["name"], t["dtype"], tuple(t["shape"])) for t in artifact.manifest["inputs"]]
    inputs = seeded_inputs(tensors)
    ours = emulator.measure("edgec", artifact.path, inputs)
    peer = emulator.measure("onnxruntime", path, inputs)
    names = [tensor["name"] for tensor in artifact.manifest["outputs"]]
    results, expected = (dict(zip(names, each.outputs, strict=True)) for each in (ours, peer))
    wrong = [str(difference) for difference in compare(results, expected) if not difference]
    if wrong:
        raise UserError(f"results differ: {'; '.join(wrong)}")
    counts = {"edgec": summarise(ours), "onnxruntime": summarise(peer)}
    return {
        "model": path.stem,
        "target": target,
        "ratio": counts["onnxruntime"]["instructions"] / counts["edgec"]["instructions"],
        **counts,
        "kernels": count_kernels(ours, artifact),
    }


def summarise(measured: Run) -> Row:
    """Counts of all, by class of instruction and by file."""
    classes = count_classes(block for blocks in measured.blocks.values() for block in blocks)
    files = {Path(file).name: count_classes(blocks).total() for file, blocks in measured.blocks.items()}
    ordered = dict(sorted(files.items(), key=lambda item: -item[1]))
    return {"instructions": classes.total(), "classes": {name: classes[name] for name in CLASSES}, "files": ordered}


def count_kernels(measured: Run, artifact: Artifact) -> list[Row]:
    """The functions of the artifact, the largest first; kernels whose code is the same are one."""
    kernels: dict[str, Row] = {}
    for kernel in artifact.manifest["kernels"]:
        same = kernels.setdefault(kernel["symbol"], {**kernel, "calls": 0})
        same["calls"] += kernel["calls"]
    rows = []
    for name, own in measured.functions(artifact.path).items():
        classes = count_classes(own)
        row = kernels.get(name, {"name": name, "calls": None, "rule": None})
        rows.append({**row, "instructions": classes.total(), "classes": {key: classes[key] for key in CLASSES}})
    return sorted(rows, key=lambda row: -row["instructions"])


def format_kernels(rows: Sequence[Row], shown: int = 25) -> str:
    """A Markdown table; the largest kernels, which make up nearly all."""
    lines = [
        "| kernel | rule | calls | M instructions | a multiply-add | loads | stores |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows[:shown]:
        classes, total = row["classes"], row["instructions"]
        products = classes["multiply-add"]
        each = f"{total / products:.2f}" if products else ""
        loads, stores = (100 * (classes[f"SIMD {kind}"] + classes[kind]) / total for kind in ("load", "store"))
        lines.append(
            f"| {row['name'][:70]} | {row['rule'] or ''} | {row['calls'] or ''} | {total / 1e6:.3f} | {each} "
            f"| {loads:.0f} % | {stores:.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--target", nargs="+", default=DEFAULT_TARGETS)
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1x3x8x8")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--qemu", type=Path, required=True, help=argparse.SUPPRESS)  # both made by scripts/bench_arm
    parser.add_argument("--packages", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows: list[Row] = []
    models = find_models(options.models, parse_shapes(options.shape))
    print("| model | target | edgec, M instructions | onnxruntime, M | ratio |\n|---|---|---|---|---|", flush=True)
    for target in options.target:
        with emulate(load_target(target), options.qemu, options.packages) as emulator:
            for path, shapes in models:
                try:
                    with tempfile.TemporaryDirectory() as folder:
                        row = measure(path, shapes, target, emulator, Path(folder))
                except (UserError, CommandError) as error:
                    reason = error.output if isinstance(error, CommandError) else error.what
                    print(f"{path.stem} for {target}: {reason.strip()[-400:]}", file=sys.stderr)
                    continue
                rows.append(row)
                ours, peer = (row[runtime]["instructions"] / 1e6 for runtime in ("edgec", "onnxruntime"))
                print(f"| {path.stem} | {target} | {ours:.2f} | {peer:.2f} | {row['ratio']:.2f} |", flush=True)
    for target in options.target:
        ratios = [row["ratio"] for row in rows if row["target"] == target]
        if ratios:
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            print(f"\n{len(ratios)} models, {target}: geometric mean {mean:.2f}, least {min(ratios):.2f}")
    if options.kernels:
        for row in rows:
            print(f"\n{row['model']}, {row['target']}:\n\n{format_kernels(row['kernels'])}")
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
