"""Which loops of a kernel threads share.

What a core wrote is in its own cache, and slow to get for the others. So a kernel's rows best go to the threads that
wrote the rows which it reads: every kernel divides its rows among them in the same way, in order. Where its loop over
channels goes around that over rows, each thread runs the whole of the former, and its part of the latter inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .analysis import Block
from .limits import Limits

# TVM's code generation runs what is inside of it in every task, and divides the parallel loop among them.
IN_EVERY_TASK = "pragma_parallel_launch_point"
LEAST_TASKS = 8  # that a few threads share well


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


def fused(sch: Any, loops: Sequence[Any]) -> Any:
    """One loop for several that lie inside each other."""
    return sch.fuse(*loops) if len(loops) > 1 else loops[0]


@dataclass(frozen=True)
class TileLoops:
    """The loops over a result's tiles, which may run in any order.

    Attributes:
        products: the loop over products that have weights of their own, or none.
        rows: those over rows, from the outermost one on.
        channels: the one over blocks of channels.
        overlapping: those over rows whose last tile overlaps, which are not fused with others.
        narrower: those over rows or channels whose last tile is narrower, ditto.
    """

    products: Sequence[Any]
    rows: Sequence[Any]
    channels: Any
    overlapping: Sequence[Any]
    narrower: Sequence[Any]

    def divided(self, sch: Any, channels_outside: bool, rows_shared: bool) -> tuple[list[Any], list[Any], list[Any]]:
        """Loops that every thread runs, inside of them those that threads share, and those that are left.

        Of the two that are asked for, the order and what is shared, the latter gives way where it is not possible, and
        the former where all rows are in tiles that overlap. What these have in common, two threads may write, to the
        same values.
        """
        alone = [*self.overlapping, *self.narrower]
        tiles = [self.channels, *self.rows] if channels_outside else [*self.rows, self.channels]
        order = [*self.products, *tiles]
        rows = [loop for loop in self.rows if loop not in alone]
        if _rounds(sch, rows) == 1 == len(self.overlapping):
            rows, channels_outside = [*self.overlapping], True
        inside, outside = (rows, [self.channels]) if channels_outside else ([self.channels], rows)
        around: list[Any] = []
        shared = [loop for loop in order if loop not in alone]
        if (
            rows_shared == channels_outside
            and not self.products
            and min(_rounds(sch, inside), _rounds(sch, outside)) > 1
        ):
            around, shared = outside, inside
        elif _rounds(sch, shared) == 1:
            shared = max([self.channels], rows, key=lambda loops: _rounds(sch, loops))
        return around, shared, [loop for loop in order if loop not in [*around, *shared]]


def _rounds(sch: Any, loops: Sequence[Any]) -> int:
    """How often what is inside of all of them runs."""
    return math.prod(int(sch.get(loop).extent) for loop in loops)
