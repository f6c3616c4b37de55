"""The static memory plan: an offset in one arena for every temporary.

Greedy by size, each block at the lowest offset that no block alive at the same time occupies: Pisarchyk
and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020 (arXiv:2001.03288).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .program import Program, Repeat, Step, element_bytes, repeat_arguments

ALIGNMENT = 64  # bytes; kernels are compiled for buffers aligned to it


@dataclass(frozen=True)
class MemoryPlan:
    """Where temporaries live.

    Attributes:
        offsets: byte offset in the arena by index of the owning value.
        arena_bytes: size of the arena.
        live_bytes: the most that is alive at any one step; no plan can do with less.
        flows: for the steps of control flow, by their numbers.
    """

    offsets: dict[int, int]
    arena_bytes: int
    live_bytes: int
    flows: dict[int, FlowPlan] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowPlan:
    """Memory of a step of control flow, a block of the arena that is its own while it runs.

    Attributes:
        offset: of the block in the arena.
        nbytes: of the block.
        bodies: plans of the programs inside, whose arenas all begin at `arena`.
        arena: offset in the arena around.
        carried: offsets of the second buffers of the values that a Repeat carries; the first are its results.
        scanned: of aligned copies of elements; None where elements are aligned as they lie.
        stacked: likewise.
    """

    offset: int
    nbytes: int
    bodies: tuple[MemoryPlan, ...]
    arena: int
    carried: tuple[int, ...] = ()
    scanned: tuple[int | None, ...] = ()
    stacked: tuple[int | None, ...] = ()


def plan_memory(program: Program) -> MemoryPlan:
    """Places every temporary that owns memory; values alive at the same step never overlap."""
    lives = live_ranges(program)
    sizes = {index: align(program.values[index].nbytes) for index in lives}
    flows = {number: _plan_flow(program, step) for number, step in enumerate(program.steps) if step.flow}
    for number, flow in flows.items():  # blocks of their own, numbered after the values
        lives[len(program.values) + number] = (number, number)
        sizes[len(program.values) + number] = flow.nbytes
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
    moved = {number: _moved(flow, offsets.pop(len(program.values) + number)) for number, flow in flows.items()}
    return MemoryPlan(offsets, arena, max(live, default=0), moved)


def _plan_flow(program: Program, step: Step) -> FlowPlan:
    """The plan of a block that begins at 0."""
    assert step.flow is not None
    bodies = tuple(plan_memory(body) for body in step.flow.bodies)
    position = 0

    def place(nbytes: int) -> int:
        nonlocal position
        position += align(nbytes)
        return position - align(nbytes)

    def elements(values: Sequence[int]) -> tuple[int | None, ...]:
        sizes = [element_bytes(program.values[index]) for index in values]
        return tuple(None if size % ALIGNMENT == 0 else place(size) for size in sizes)

    carried: tuple[int, ...] = ()
    scanned: tuple[int | None, ...] = ()
    stacked: tuple[int | None, ...] = ()
    if isinstance(step.flow, Repeat):
        roles = repeat_arguments(step.flow.facts, step)
        carried = tuple(place(program.values[index].nbytes) for index in roles.carried)
        scanned, stacked = elements(roles.scanned), elements(roles.stacked)
    arena = place(max(body.arena_bytes for body in bodies))
    return FlowPlan(0, position, bodies, arena, carried, scanned, stacked)


def _moved(flow: FlowPlan, offset: int) -> FlowPlan:
    """The plan of a block that begins at `offset`."""

    def move(places: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(None if place is None else place + offset for place in places)

    carried = tuple(place + offset for place in flow.carried)
    scanned, stacked = move(flow.scanned), move(flow.stacked)
    return FlowPlan(offset, flow.nbytes, flow.bodies, flow.arena + offset, carried, scanned, stacked)


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
