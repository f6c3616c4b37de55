"""What a kernel's program is known by in tuning records, whatever model it is in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from ..kernels.bounds import BOUNDS
from ..kernels.in_place import IN_PLACE
from ..kernels.rule import Decision
from ..kernels.scalars import SCALARS, is_scalar
from .objects import canonical_form

_DIGITS = 32


def workload_key(program: Any) -> str:
    """32 hexadecimal digits that stand for a tensor program that is not scheduled.

    Neither its name nor its float numbers matter, which layers of one shape differ in: they are as fast as each other.
    """
    for attribute in (IN_PLACE, SCALARS, BOUNDS):
        program = program.without_attr(attribute)
    numbers = {param: tirx.FloatImm(str(param.ty.dtype), 0.0) for param in program.params if is_scalar(param)}

    def on_var(var: Any) -> Any:
        return numbers.get(var, var)

    def on_number(number: Any) -> Any:
        return tirx.FloatImm(str(number.ty.dtype), 0.0)

    body = tvm_ffi.structural_map(program.body, [(ir.Var, on_var), (tirx.FloatImm, on_number)])
    params = [param for param in program.params if param not in numbers]
    canonical = canonical_form(tirx.PrimFunc(params, body, program.ret_type, program.attrs))
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
