"""The memory plan: nothing alive overlaps, and little is wasted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compiler.build.memory import ALIGNMENT, align, live_ranges, plan_memory
from compiler.build.program import Program, Step, Value


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Straight-line programs over an input, an output, a constant, temporaries and views of temporaries."""
    values = [Value(0, "input", "float32", (3,), 0), Value(1, "constant", "float32", (3,), 0)]
    steps: list[Step] = []
    readable = [0, 1]
    for _ in range(draw(st.integers(0, 12))):
        args = draw(st.lists(st.sampled_from(readable), min_size=1, max_size=3))
        made = []
        for _ in range(draw(st.integers(1, 2))):
            size = draw(st.sampled_from([0, 1, 16, 17, 100, 1000]))
            values.append(Value(len(values), "temporary", "float32", (size,)))
            made.append(len(values) - 1)
        steps.append(Step("k", (*args, *made), len(made)))
        readable += made
        if draw(st.booleans()):
            source = draw(st.sampled_from(readable))
            base = values[source]
            values.append(Value(len(values), "temporary", base.dtype, base.shape, alias=source))
            readable.append(len(values) - 1)
    values.append(Value(len(values), "output", "float32", (3,), 0))
    steps.append(Step(None, (draw(st.sampled_from(readable)), len(values) - 1)))
    return Program(values, steps, [])


@given(programs())
def test_values_that_live_together_do_not_overlap(program: Program) -> None:
    plan = plan_memory(program)
    lives = live_ranges(program)
    assert set(plan.offsets) == set(lives)
    spans = {i: (o, o + align(program.values[i].nbytes)) for i, o in plan.offsets.items()}
    for one, (begin, end) in spans.items():
        assert begin % ALIGNMENT == 0
        assert end <= plan.arena_bytes
        for other, (begin2, end2) in spans.items():
            together = lives[one][0] <= lives[other][1] and lives[other][0] <= lives[one][1]
            assert one == other or not together or end <= begin2 or end2 <= begin
    assert plan.live_bytes <= plan.arena_bytes <= sum(end - begin for begin, end in spans.values())


@given(programs())
def test_every_use_of_a_view_keeps_its_memory_alive(program: Program) -> None:
    lives = live_ranges(program)
    for number, step in enumerate(program.steps):
        for arg in step.args:
            root = program.root(arg)
            if program.values[root].kind == "temporary":
                assert lives[root][0] <= number <= lives[root][1]


def test_a_chain_needs_two_buffers_only() -> None:
    values = [Value(0, "input", "float32", (64,), 0)]
    steps = []
    for index in range(1, 9):
        values.append(Value(index, "temporary", "float32", (64,)))
        steps.append(Step("k", (index - 1, index)))
    plan = plan_memory(Program(values, steps, []))
    assert plan.arena_bytes == 2 * 256 == plan.live_bytes


def test_a_program_without_temporaries_needs_no_arena() -> None:
    values = [Value(0, "input", "float32", (4,), 0), Value(1, "output", "float32", (4,), 0)]
    assert plan_memory(Program(values, [Step("k", (0, 1))], [])).arena_bytes == 0
