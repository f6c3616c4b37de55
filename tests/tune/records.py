"""Tuning records that nobody measured."""

from __future__ import annotations

import dataclasses
from typing import Any

from compiler.kernels.rule import Decision
from compiler.tune.records import Record


def record(number: int = 0, kind: str = "trial", **changes: Any) -> Record:
    """One of the target `host`; records of other numbers are different ones."""
    made = Record(
        kind=kind,
        workload=f"{number:032x}",
        work={"family": "packed", "dtype": "float32", "flops": 10 * number, "spatial": [1, 7, 7, 32]},
        target="host",
        fingerprint="0123456789abcdef",
        decision=Decision("packed", {"rows": 1 + number % 7, "unrolled": 0}),
        seconds=1e-5 * (1 + number % 5),
        spread=1e-7,
        base=2e-5,
        rounds=15,
        threads=1,
        date=f"2026-11-21T16:{number % 60:02}:00Z",
    )
    return dataclasses.replace(made, **changes)
