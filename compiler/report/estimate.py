"""What an inference costs on a target, from the descriptor alone: nothing is compiled to code, nothing runs."""

from __future__ import annotations

from typing import Any

from ..frontend.prepare import PreparedModel
from ..target import Target


def estimate(prepared: PreparedModel, target: Target, where: str) -> dict[str, Any]:
    """Operations, bytes that kernels read and write, seconds on one core, bytes of weights and of the arena.

    Bodies of control flow count once.
    """
    from ..build.lower import lower
    from ..build.program import kernel_uses
    from ..kernels.cost import cost_of
    from ..kernels.estimate import seconds_on_one_core

    version, programs = lower(prepared, target, where)
    uses = kernel_uses(version.program)
    costs = {name: cost_of(program) for name, program in programs.items()}
    return {
        "target": target.name,
        "kernels": len(costs),
        "flops": sum(calls * costs[name].flops for name, calls in uses.items()),
        "bytes": sum(calls * costs[name].bytes_moved for name, calls in uses.items()),
        "seconds_on_one_core": sum(calls * seconds_on_one_core(costs[name], target) for name, calls in uses.items()),
        "weights_bytes": sum(array.nbytes for array in version.program.constants),
        "arena_bytes": version.plan.arena_bytes,
    }
