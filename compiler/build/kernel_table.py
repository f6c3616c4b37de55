"""What the manifest says of each kernel."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from ..kernels.cost import cost_of
from ..kernels.estimate import seconds_on_one_core
from ..kernels.rule import Decision
from ..target import Target
from .objects import CompiledKernel
from .program import kernel_uses
from .version import Version


def kernel_table(
    versions: Sequence[Version],
    programs: Mapping[str, Any],
    kernels: Mapping[str, CompiledKernel],
    target: Target,
    decisions: Mapping[str, Decision] | None = None,
    estimated: Container[str] = (),
) -> list[dict[str, Any]]:
    """One row a kernel of the largest version, then those that only smaller ones have.

    Operations, bytes and seconds are those of one call; calls are counted in the first version that has the kernel.
    `failed_rules` is there if rules failed that would have come before, and `tuned` with a kernel's parameters if a
    tuner decided on them; `estimated` if it did so without measuring.

    Args:
        decisions: those of a tuner, by kernel.
        estimated: kernels whose decisions nothing measured stands behind.
    """
    rows: list[dict[str, Any]] = []
    known: set[str] = set()
    for version in reversed(versions):
        uses = sorted(kernel_uses(version.program).items())
        new = [(name, calls) for name, calls in uses if kernels[name].symbol not in known]
        known |= {kernels[name].symbol for name, _ in new}
        for name, calls in new:
            kernel, cost = kernels[name], cost_of(programs[name])
            row = {
                "name": name,
                "calls": calls,
                "rule": kernel.rule,
                "symbol": kernel.symbol,
                "flops": cost.flops,
                "bytes": cost.bytes_moved,
                "bytes_written": cost.bytes_written,
                "estimated_seconds": float(f"{seconds_on_one_core(cost, target, kernel.rule):.3g}"),
            }
            decision = (decisions or {}).get(name)
            if decision is not None and decision.rule == kernel.rule and kernel.rule not in kernel.failures:
                row["tuned"] = dict(kernel.parameters)
                if name in estimated:
                    row["estimated"] = True
            rows.append(row | ({"failed_rules": dict(kernel.failures)} if kernel.failures else {}))
    return rows
