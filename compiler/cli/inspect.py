"""`edgec inspect`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from ..frontend.prepare import describe_obstacles
from ..frontend.rows import open_shape
from ..frontend.shapes import parse_shapes
from ..frontend.support import Obstacle
from ..report.floats import float_lines
from ..report.kernels import describe_kernels, failed_rules, tuned_lines
from ..report.sparsity import sparsity_line, sparsity_rows
from ..runtime.loader import LoadError, read_manifest
from .show import kib, shape_text, table


@click.command("inspect")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--target", default="host", show_default=True, help="The board that a model is meant for.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=1x3x224x224", help="Fix an input's shape; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: Path, target: str, shapes: tuple[str, ...], as_json: bool) -> None:
    """Show what PATH, an ONNX model or an artifact, is made of.

    Of a model: inputs, outputs, operators, and every node that cannot be compiled. Of an artifact: its manifest, and
    its kernels by the time that they are estimated to take; the operations and bytes are those of all calls together.
    """
    if _is_binary(path):
        try:
            manifest = read_manifest(path)
        except LoadError as error:
            raise UserError(str(error)) from error
        described = manifest | {"kernels": describe_kernels(manifest)}
        click.echo(json.dumps(described, indent=2) if as_json else "\n".join(_artifact_lines(described)))
        return
    from ..report.summary import summarize_model
    from ..target import load_target

    resolved = load_target(target)
    summary = summarize_model(path, parse_shapes(shapes), resolved) | {"target": resolved.name}
    click.echo(json.dumps(summary, indent=2) if as_json else "\n".join(_model_lines(summary)))


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"\x7fELF", b"\xcf\xfa\xed\xfe")
    except OSError as error:
        raise UserError(f"cannot read the file: {error.strerror}", str(path)) from error


def _tensor_rows(manifest: dict[str, Any]) -> list[tuple[str, ...]]:
    """Of an artifact's manifest, or of a model's summary, in which outputs of any number of rows say so already."""
    rows: list[tuple[str, ...]] = [("", "NAME", "DTYPE", "SHAPE")]
    axes = manifest.get("rows")
    for kind in ("input", "output"):
        for place, tensor in enumerate(manifest[f"{kind}s"]):
            dtype, shape = "string" if tensor.get("strings") else tensor["dtype"], tensor["shape"]
            if axes and kind == "input":
                shape = ["N", *shape[1:]]
            elif isinstance(axes, list):
                shape = open_shape(shape, axes[place], manifest["inputs"][0]["shape"][0])
            rows.append((kind, tensor["name"], dtype, shape_text(shape)))
    return rows


def _classical_lines(forest: dict[str, int] | None, rows: str | None, strings: int | None) -> list[str]:
    """What classical models have."""
    return [
        *([f"forest       {forest['trees']} trees, {forest['nodes']} nodes"] if forest else []),
        *([f"rows         any number, N below{rows}"] if rows is not None else []),
        *([f"strings      {strings} known to the model"] if strings is not None else []),
    ]


def _model_lines(summary: dict[str, Any]) -> list[str]:
    lines = [
        f"{summary['name']}: {summary['nodes']} nodes, {summary['parameters']} parameters, "
        f"operator set {summary['opset']}, IR version {summary['ir_version']}",
        *_traits(summary),
        "",
        table(_tensor_rows(summary)),
        "",
        table(
            [
                ("OPERATOR", "COUNT", "SUPPORT"),
                *((o["operator"], str(o["count"]), o["support"]) for o in summary["operators"]),
            ]
        ),
        "",
        *_sparsity_table(summary["sparsity"]),
    ]
    if summary["dynamic"]:
        shapes = " ".join("--shape " + shlex.quote(shape) for shape in summary["dynamic"]["suggested"])
        lines += [
            summary["dynamic"]["what"],
            f"fix them, for instance {shapes}; 1..8 in place of 1 keeps a size open",
            "",
        ]
    obstacles = summary["obstacles"]
    if not obstacles:
        lines.append(f"nothing found that stands in the way of compiling it for {summary['target']}")
    else:
        lines.append(f"{len(obstacles)} nodes cannot be compiled:")
        lines += describe_obstacles([Obstacle(o["node"], o["operator"], o["reason"]) for o in obstacles])
        lines += ["", "ways out:", *(f"  {way}" for way in dict.fromkeys(o["way_out"] for o in obstacles))]
    return lines


def _traits(summary: dict[str, Any]) -> list[str]:
    """Lines on what is special about a model, and what it costs on the target."""
    lines = _classical_lines(summary["forest"], "" if summary["rows"] else None, summary["strings"])
    if quantised := summary["quantised"]:
        lines.append(f"quantised    {', '.join(quantised['forms'])}; {kib(quantised['int8_weights'])} of 8-bit weights")
    lines += float_lines(summary["floats"])
    lines += sparsity_line(summary["sparsity"])
    if summary["control_flow"]:
        lines.append(f"control flow {summary['control_flow']} nodes")
    if summary["data_sized"]:
        lines.append(f"sizes        of {', '.join(summary['data_sized'])} depend on the data")
    if cost := summary["estimate"]:
        rows = f"for {summary['rows']} rows " if summary["rows"] else ""
        lines.append(
            f"estimate     {cost['seconds_on_one_core'] * 1e3:.3g} ms {rows}on one core of {cost['target']}: "
            f"{cost['flops'] / 1e6:.4g} MFLOP, {kib(cost['bytes'])} moved by {cost['kernels']} kernels; "
            f"weights {kib(cost['weights_bytes'])}, arena {kib(cost['arena_bytes'])}"
        )
    return lines


def _artifact_lines(manifest: dict[str, Any]) -> list[str]:
    target, requires, memory = manifest["target"], manifest["requires"], manifest["memory"]
    versions = manifest["versions"]
    features = ", ".join(f["name"] for f in requires["cpu_features"]) or "none beyond the machine's own"
    unpacked = f" (unpacked {kib(memory['unpacked_bytes'])})" if "unpacked_bytes" in memory else ""
    verification = manifest["verification"]
    blocks = ", ".join(str(shapes["inputs"][0][0]) for shapes in manifest.get("shapes", []))
    rows = f", taken in blocks of {blocks}" if manifest.get("rows") else None
    strings = len(manifest["strings"]) if "strings" in manifest else None
    detail = "".join(
        f", {key} {verification[key]}" for key in ("max_error", "reference", "where", "reason") if key in verification
    )
    return [
        f"{manifest['model']['name']} for {target['name']} ({target['triple']}, {target['cpu']}), "
        f"{manifest['precision']}",
        f"needs        {requires['machine']}, {requires['os']}, glibc {requires.get('glibc', '-')}; "
        f"CPU features: {features}",
        f"memory       weights {kib(memory['weights_bytes'])}{unpacked}, arena {kib(memory['arena_bytes'])}",
        *_classical_lines(manifest["model"].get("forest"), rows, strings),
        *float_lines(manifest["model"].get("floats")),
        *sparsity_line(manifest["model"].get("sparsity")),
        *tuned_lines(manifest),
        *([f"float32      what {', '.join(kept)} make"] if (kept := manifest.get("kept_float32")) else []),
        f"verification {verification['status']}{detail}",
        f"made by      edgec {versions['edgec']}, TVM {versions['tvm']}, LLVM {versions['llvm']}",
        "",
        table(_tensor_rows(manifest)),
        "",
        *_sparsity_table(manifest["model"].get("sparsity")),
        _kernel_table(manifest["kernels"]),
        *(line for kernel in manifest["kernels"] for line in failed_rules(kernel)),
    ]


def _sparsity_table(found: dict[str, Any] | None) -> list[str]:
    rows = sparsity_rows(found)
    return [table(rows), ""] if rows else []


def _kernel_table(kernels: list[dict[str, Any]]) -> str:
    """Operations and bytes of all calls together; the time is the share of an estimate for one core."""
    rows = [("SHARE", "CALLS", "MFLOP", "READ", "WRITTEN", "RULE", "KERNEL")]
    for k in kernels:
        calls = k["calls"]
        sizes = (kib(calls * k["bytes_read"]), kib(calls * k["bytes_written"]))
        rows.append((f"{k['share']:.1%}", str(calls), f"{calls * k['flops'] / 1e6:.3f}", *sizes, k["rule"], k["name"]))
    return table(rows)
