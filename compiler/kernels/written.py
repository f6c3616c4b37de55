"""Programs written by hand, as sorts and scans are: their loops stand, and threads share those that say they may."""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx

from .limits import Limits
from .lowering import nodes_of
from .rule import Offer, Parameters
from .vectors import install

# The annotation of a loop whose iterations are independent; its value is how many steps all of them take.
INDEPENDENT = "edgec.independent"
# That of one whose scalars LLVM shall not gather in vectors, and then the attribute of the program.
SCALAR = "edgec.scalar"


def written_rule(sch: Any, limits: Limits) -> Offer | None:
    """Programs with annotated loops."""
    func = sch.mod["main"]
    found = [loop.annotations for loop in nodes_of(func.body, tirx.For)]
    if not any(INDEPENDENT in annotations for annotations in found):
        return None

    def decide(one: Any) -> Any:
        if INDEPENDENT not in one.annotations:
            return one
        shared = int(one.annotations[INDEPENDENT]) >= limits.parallel_work
        kind = tirx.ForKind.PARALLEL if shared else tirx.ForKind.SERIAL
        return tirx.For(one.loop_var, one.min, one.extent, kind, one.body, None, {})

    def apply(_chosen: Parameters) -> None:
        made = func.with_body(tvm_ffi.structural_map(func.body, [(tirx.For, decide)]))
        install(sch, made.with_attr(SCALAR, True) if any(SCALAR in annotations for annotations in found) else made)

    return Offer(apply)
