"""How sizes, times and tables are printed."""

from __future__ import annotations

from collections.abc import Sequence


def kib(count: int) -> str:
    """A size in bytes as KiB or MiB."""
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.2f} MiB"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, the first row being the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def shape_text(shape: Sequence[int | str] | None) -> str:
    """`1x3x224x224`; `scalar` for rank 0, `unknown` for None."""
    if shape is None:
        return "unknown"
    return "x".join(map(str, shape)) or "scalar"
