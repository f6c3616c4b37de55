"""`edgec targets`: the boards that edgec knows, and this machine."""

from __future__ import annotations

import json
from typing import Any

import click

from ..cpu_features import required_features
from ..target import Target, list_targets, load_target
from .show import table


def _summary(target: Target) -> dict[str, Any]:
    """What `list` shows of a target. Numbers that a generic descriptor cannot know are None."""
    return {
        "name": target.name,
        "aliases": list(target.aliases),
        "cpu": target.core,
        "cores": target.num_cores,
        "fast_cores": target.fast_cores,
        "peak_fp32_gflops": round(target.peak_gflops(), 1) if target.clusters else None,
        "memory_bandwidth_gbs": target.memory_bandwidth_gbs,
        "description": target.description,
    }


def _derived(target: Target) -> dict[str, Any]:
    """What the code derives from a descriptor."""
    dtypes = ("float32", "float16", "bfloat16", "int8")
    return {
        "machine": target.machine,
        "fingerprint": target.fingerprint,
        "fast_cores": target.fast_cores,
        "peak_gflops": {t: round(target.peak_gflops(t), 1) for t in dtypes} if target.clusters else None,
        "required_features": required_features(target),
        "tvm_target": target.tvm_target(),
    }


@click.group("targets", invoke_without_command=True)
@click.pass_context
def targets(context: click.Context) -> None:
    """Show the boards that models can be compiled for.

    Without a subcommand: `list`.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_command, as_json=False)


@targets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the names, aliases and speed limits of all targets.

    `host`, this machine, is always there too: see `edgec targets detect`.
    """
    summaries = [_summary(target) for target in list_targets()]
    if as_json:
        click.echo(json.dumps(summaries, indent=2))
        return
    rows: list[tuple[str, ...]] = [("NAME", "CPU", "CORES", "PEAK FP32", "MEMORY", "ALIASES")]
    for row in summaries:
        peak = row["peak_fp32_gflops"]
        rows.append((
            row["name"],
            row["cpu"],
            "unknown" if row["cores"] is None else str(row["cores"]),
            "unknown" if peak is None else f"{peak:.1f} GFLOP/s",
            f"{row['memory_bandwidth_gbs']:.1f} GB/s",
            ", ".join(row["aliases"][:3]),
        ))  # fmt: skip
    click.echo(table(rows))
    click.echo("Peak: the fast cores together. `host` is this machine; a path to your own TOML file works too.")


@targets.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Show all that is known of one target.

    NAME is a target's name or alias, `host`, or a path to a TOML file.
    """
    target = load_target(name)
    if as_json:
        click.echo(json.dumps(target.to_dict() | {"derived": _derived(target)}, indent=2))
        return
    click.echo("\n".join(_describe(target)))


@targets.command("detect")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def detect_command(as_json: bool) -> None:
    """Describe this machine as a target file.

    Save the output, correct it, and give its path as --target.
    """
    target = load_target("host")
    click.echo(json.dumps(target.to_dict(), indent=2) if as_json else target.to_toml(), nl=as_json)


def _describe(target: Target) -> list[str]:
    """The lines of `show`."""
    caches, derived = target.caches, _derived(target)
    rows = [
        ("aliases", ", ".join(target.aliases) or "none"),
        ("LLVM", f"{target.triple}, {target.core} {' '.join(target.features)}".rstrip()),
        *(("cores", f"{c.cores} x {c.core} at {c.ghz:g} GHz") for c in target.clusters),
        *([] if target.clusters else [("cores", "unknown")]),
        ("L1 data", f"{caches.l1d_kib} KiB a core"),
        ("L2", f"{caches.l2_kib} KiB {'shared by the fast cores' if caches.l2_shared else 'a core'}"),
        ("L3", f"{caches.l3_kib} KiB" if caches.l3_kib else "none"),
        (
            "vectors",
            f"{target.simd_registers} of {target.simd_bits} bits, {target.fma_pipes:g} multiply-adds a cycle",
        ),
        ("memory", f"{target.memory_bandwidth_gbs:g} GB/s"),
    ]
    for dtype, peak in (derived["peak_gflops"] or {}).items():
        rows.append((f"peak {dtype}", f"{peak:g} {'GOP/s' if dtype == 'int8' else 'GFLOP/s'}"))
    if target.cuda is not None:
        cuda = target.cuda
        text = f"sm_{cuda.sm}, {cuda.sm_count} SMs at {cuda.clock_ghz:g} GHz, "
        text += f"{cuda.shared_memory_kib} KiB shared memory each"
        rows.append(("GPU", f"{text}, {cuda.memory_bandwidth_gbs:g} GB/s, JetPack {cuda.jetpack or 'unknown'}"))
    system = f"Linux, glibc {target.glibc} or newer" if target.os == "linux" else "macOS"
    features = ", ".join(entry["name"] for entry in derived["required_features"])
    rows += [
        ("system", f"{system}, Python {target.python}"),
        ("needs", features or f"nothing beyond plain {target.machine}"),
        ("emulator", f"qemu -cpu {target.qemu_cpu}" if target.qemu_cpu else "none"),
        ("fingerprint", target.fingerprint),
        ("estimates", ", ".join(target.estimates) or "none"),
        *(("source", source) for source in target.sources),
    ]
    width = max(len(key) for key, _ in rows)
    return [f"{target.name}: {target.description}", *(f"  {key:<{width}}  {text}" for key, text in rows)]
