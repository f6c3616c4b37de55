"""What a kernel's program is known by in tuning records, whatever model it is in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tvm import ir

from ..kernels.in_place import IN_PLACE
from ..kernels.rule import Decision
from .objects import canonical_form

_DIGITS = 32


def workload_key(program: Any) -> str:
    """32 hexadecimal digits that stand for a tensor program that is not scheduled, under any name."""
    canonical = canonical_form(program.without_attr(IN_PLACE))
    return hashlib.sha256(ir.save_json(canonical).encode()).hexdigest()[:_DIGITS]


def decide(programs: Mapping[str, Any], decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """The decisions for programs, by their names.

    Args:
        decisions: by key.
    """
    if not decisions:
        return {}
    keys = {name: workload_key(program) for name, program in programs.items()}
    return {name: decisions[key] for name, key in keys.items() if key in decisions}
