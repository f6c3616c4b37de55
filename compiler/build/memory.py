"""The static memory plan: an offset in one arena for every temporary.

Greedy by size, each block at the lowest offset that no block alive at the same time occupies: Pisarchyk
and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020 (arXiv:2001.03288).
"""

from __future__ import annotations

from dataclasses import dataclass

from .program import Program

ALIGNMENT = 64  # bytes; kernels are compiled for buffers aligned to it


@dataclass(frozen=True)
class MemoryPlan:
    """Where temporaries live.

    Attributes:
        offsets: byte offset in the arena by index of the owning value.
        arena_bytes: size of the arena.
        live_bytes: the most that is alive at any one step; no plan can do with less.
    """

    offsets: dict[int, int]
    arena_bytes: int
    live_bytes: int


def plan_memory(program: Program) -> MemoryPlan:
    """Places every temporary that owns memory; values alive at the same step never overlap."""
    lives = live_ranges(program)
    sizes = {index: align(program.values[index].nbytes) for index in lives}
    offsets: dict[int, int] = {}
    # Ties are broken by first use, so that the plan does not depend on anything but the program.
    for index in sorted(lives, key=lambda i: (-sizes[i], lives[i], i)):
        first, last = lives[index]
        busy = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if lives[other][0] <= last and first <= lives[other][1]
        )
        offset = 0
        for begin, end in busy:
            if offset + sizes[index] <= begin:
                break
            offset = max(offset, end)
        offsets[index] = offset
    arena = max((offsets[i] + sizes[i] for i in offsets), default=0)
    live = [sum(sizes[i] for i in lives if lives[i][0] <= step <= lives[i][1]) for step in range(len(program.steps))]
    return MemoryPlan(offsets, arena, max(live, default=0))


def live_ranges(program: Program) -> dict[int, tuple[int, int]]:
    """First and last step that touches each temporary's memory, aliases included."""
    lives: dict[int, tuple[int, int]] = {}
    for number, step in enumerate(program.steps):
        for arg in step.args:
            root = program.root(arg)
            if program.values[root].kind == "temporary":
                first, _ = lives.get(root, (number, number))
                lives[root] = (first, number)
    return lives


def align(size: int) -> int:
    """`size` rounded up to the alignment; at least one unit, so that empty tensors have an address."""
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)
