"""Options of LLVM that some kernels need, against bugs of the LLVM 22 in TVM.

LLVM's options are of the whole process: TVM sets a target's while it generates code and takes them back after. So
kernels with other options than most get LLVM for themselves, one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.ir.prim.expr import BitwiseAnd

from ..kernels.lowering import nodes_of
from ..kernels.written import SCALAR

# LLVM's loop vectoriser drops the mask of an index such as (row & 3) * 5 + column where it makes vectors of a loop
# over rows whose inner loop was unrolled (seen with AVX-512).
_NO_LOOP_VECTORS = "-vectorize-loops:bool=false"
# Its other vectoriser gathers independent scalars, which makes chains of loads wait for each other.
_NO_SCALARS_IN_VECTORS = "-vectorize-slp:bool=false"


def options_for(module: Any) -> list[str]:
    """For the code of lowered tensor programs, in TVM's spelling."""
    functions = list(module.functions.values())
    # LLVM leaves loops alone that hold vectors already.
    masked = any(
        _has_mask(loop.body) and not nodes_of(loop.body, tirx.Ramp)
        for one in functions
        for loop in nodes_of(one.body, tirx.For)
    )
    scalar = any(SCALAR in (func.attrs or {}) for func in functions)
    return [_NO_LOOP_VECTORS] * masked + [_NO_SCALARS_IN_VECTORS] * scalar


def _has_mask(body: Any) -> bool:
    return bool(nodes_of(body, BitwiseAnd, lambda both: isinstance(both.b, tirx.IntImm)))


class _Gate:
    """Lets many through at the same time, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False

    @contextmanager
    def enter(self, alone: bool) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not (alone and self._inside))
            self._inside += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = False
                self._changed.notify_all()


LLVM = _Gate()
