"""Inlines the blocks of a program into those that read them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from tvm import ir, s_tir

from .analysis import Block, blocks_of
from .lowering import nodes_of

_SMALL = 1 << 14  # elements that may be computed before the rest, which takes memory of the kernel's own
_AGAIN = 4  # times that transcendental functions of one element may be computed
_COPIES = 8  # times that others may: TVM's simplifier takes seconds for conditions in conditions of more


def inline_producers(sch: Any, blocks: Sequence[Block], cheap_only: bool = False) -> None:
    """Inlines every block without a reduction into its consumers, where the schedule allows it.

    Args:
        cheap_only: leave blocks that call transcendental functions and are read by a reduction, which would
            compute them again for every step.
    """
    for block in blocks:
        if block.reduction:
            continue
        rv = sch.get_sblock(block.name)
        consumers = sch.get_consumers(rv)
        if consumers and not (cheap_only and block.transcendental and len(consumers) > 1):
            _inline(sch, rv)


def sums_and_result(sch: Any, name: str) -> tuple[Block, Block] | None:
    """The only block with a reduction, whose name begins so, and the one that all others were inlined into.

    None if it is not such a program.
    """
    blocks = blocks_of(sch)
    sums = [block for block in blocks if block.reduction]
    if len(sums) != 1 or not sums[0].name.startswith(name):
        return None
    inline_producers(sch, blocks)
    rest = [block for block in blocks_of(sch) if not block.reduction]
    return (sums[0], rest[0]) if len(rest) == 1 else None


def inline_once(sch: Any, blocks: Sequence[Block]) -> None:
    """Inlines like `inline_producers`, but not what would be computed many times for each of a few elements.

    A gate of one number a channel is such: its sigmoid belongs before the loops over the image.
    """
    times: dict[str, int] = {}  # that a block's element is computed in the end, by block
    kept: set[str] = set()
    for block in reversed(blocks):
        consumers = [sch.get(rv) for rv in sch.get_consumers(sch.get_sblock(block.name))]
        uses = sum(times[c.name_hint] * _loads(c, sch.get(sch.get_sblock(block.name))) for c in consumers)
        most = _AGAIN if block.transcendental else _COPIES
        again = uses > most * block.work and block.work <= _SMALL
        if again or not consumers:
            kept.add(block.name)
        times[block.name] = block.work if block.name in kept else uses
    for block in blocks:
        if block.name not in kept:
            _inline(sch, sch.get_sblock(block.name))


def _loads(consumer: Any, producer: Any) -> int:
    """How often a block reads what another one writes, for each element."""
    written = [region.source for region in producer.writes]
    return len(nodes_of(consumer.body, ir.TensorLoad, lambda load: any(load.source.same_as(one) for one in written)))


def _inline(sch: Any, rv: Any) -> None:
    # It may write a result of the program, or read what it writes.
    with contextlib.suppress(s_tir.ScheduleError):
        sch.compute_inline(rv)
