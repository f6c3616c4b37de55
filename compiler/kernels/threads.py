"""Which loop of a kernel threads share.

What a core wrote is in its own cache, and slow to get for the others. So a kernel's rows best go to the threads that
wrote the rows which it reads: every kernel divides its rows among them in the same way, in order. Where its loop over
channels goes around that over rows, each thread runs the whole of the former, and its part of the latter inside.
"""

from __future__ import annotations

from typing import Any

from .analysis import Block
from .limits import Limits

# TVM's code generation runs what is inside of it in every task, and divides the parallel loop among them.
IN_EVERY_TASK = "pragma_parallel_launch_point"


def share(sch: Any, task: Any, anchor: Block, limits: Limits, around: Any = None) -> None:
    """Lets threads share a loop, if the block has work enough.

    Args:
        around: the loop outside of it, if there is one, which every thread runs.
    """
    if anchor.work < limits.parallel_work:
        return
    sch.parallel(task)
    if around is not None:
        sch.annotate(around, IN_EVERY_TASK, True)
