"""How sizes, times and tables are printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tune.records import Record


def kib(count: int) -> str:
    """A size in bytes as KiB or MiB."""
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.2f} MiB"


def milliseconds(seconds: float) -> str:
    """With three digits at least: kernels may take less than a microsecond."""
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-4 or not seconds else f"{seconds * 1e3:.3g} ms"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, the first row being the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def schedules(what: str, verdicts: Mapping[str, Record], names: Mapping[str, Sequence[str]]) -> str:
    """A table of the schedules that a tuner found, the one that saves most of its kernel first.

    Args:
        what: their share of the default's is of.
        names: of kernels, by workload.
    """
    best = sorted(verdicts.items(), key=lambda item: item[1].ratio)
    rows = [(f"x {record.ratio:.3f}", record.text, names[key][0]) for key, record in best]
    return table([(what, "SCHEDULE", "KERNEL"), *rows])


def shape_text(shape: Sequence[int | str] | None) -> str:
    """`1x3x224x224`; `scalar` for rank 0, `unknown` for None."""
    if shape is None:
        return "unknown"
    return "x".join(map(str, shape)) or "scalar"
