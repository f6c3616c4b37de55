"""How nests are written: how wide, and what threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from .accesses import is_conditional
from .limits import Limits
from .nest import Axis, Nest, size
from .rule import Offer, Parameters

# Tasks that a few threads share evenly, and registers that hide the latency of most instructions.
TASKS, VECTORS = 16, 2


def offer_style(apply: Callable[[Parameters], None]) -> Offer:
    """The offer of a rule that has a style's numbers for parameters."""
    return Offer(apply, {"vectors": VECTORS, "tasks": TASKS}, {"vectors": (1, 2, 4), "tasks": (2, 4, 8, 16, 64)})


@dataclass(frozen=True)
class Style:
    """How nests are written.

    Attributes:
        vectors: most registers that the innermost loop fills at once.
        tasks: as many as this are enough for the threads.
        parallel: whether threads may share the nest; not inside of one that they share.
    """

    limits: Limits
    vectors: int = VECTORS
    tasks: int = TASKS
    parallel: bool = True

    def shares(self, work: int) -> bool:
        """Whether so many points are worth the threads."""
        return self.parallel and work >= self.limits.parallel_work

    def task_axes(self, axes: Sequence[Axis], work: int) -> int:
        """How many leading axes make tasks for the threads; 0 if there is too little work."""
        if not self.shares(work):
            return 0
        return next((n for n in range(1, len(axes)) if size(axes[:n]) >= self.tasks), len(axes))

    def lanes(self, nest: Nest) -> int:
        """Elements of a vector register, by the widest type that the nest computes with."""
        value = nest.store.value
        widths: list[int] = [tvm_ffi.dtype(str(value.ty.dtype)).bits]
        if "float16" in str(value.ty.dtype) and not isinstance(value, ir.TensorLoad):
            widths.append(32)  # halves are computed with as floats

        def unconditional(call: Any) -> Any:
            return call.args[1] + call.args[2] if is_conditional(call) else call

        def on_value(node: Any) -> None:
            if not isinstance(node, tirx.Cast) or str(node.value.ty.dtype) != "bool":
                widths.append(tvm_ffi.dtype(str(node.ty.dtype)).bits)

        # Without indices, which are scalars.
        bare = tvm_ffi.structural_map(
            value, [(ir.TensorLoad, lambda load: tirx.Var("load", str(load.ty.dtype))), (ir.Call, unconditional)]
        )
        tvm_ffi.structural_walk(bare, [((ir.Var, tirx.Cast), on_value)])
        return max(1, self.limits.lanes * 32 // max(widths))
