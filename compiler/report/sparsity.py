"""Lines of `edgec inspect` on weights that are zero."""

from __future__ import annotations

from typing import Any

from ..quantize.sparsity import WORTH_TELLING, worth_telling


def sparsity_line(found: dict[str, Any] | None) -> list[str]:
    """The line for all layers together, none if there are next to no zeros."""
    if found is None or found["zeros"] < WORTH_TELLING:
        return []
    return [
        f"sparsity     {found['zeros']:.1%} of {found['weights']} weights are zero; "
        f"{found['blocks']:.1%} in blocks of zeros, {found['channels']:.1%} in channels of zeros"
    ]


def sparsity_rows(found: dict[str, Any] | None) -> list[tuple[str, ...]]:
    """A table of the layers that have zeros."""
    layers = (worth_telling(found) or {"layers": []})["layers"]
    rows = [
        (f"{row['zeros']:.1%}", f"{row['blocks']:.1%}", f"{row['channels']:.1%}", str(row["weights"]), row["name"])
        for row in sorted(layers, key=lambda row: -row["zeros"] * row["weights"])
    ]
    return [("ZEROS", "BLOCKS", "CHANNELS", "WEIGHTS", "LAYER"), *rows] if rows else []
