"""Views: programs with fewer copies compute the same, in memory that is laid out as the plan says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.build.memory import plan_memory
from compiler.build.program import Program, Step, Value
from compiler.build.views import compact_strides, place_views, reshape_strides

Array = np.ndarray[Any, Any]


def run(program: Program, inputs: Sequence[Array]) -> dict[int, Array]:
    """The program's outputs by slot; kernels are some function of all they read, temporaries share one arena."""
    plan = plan_memory(program)
    arena = np.full(plan.arena_bytes // 4, np.nan, np.float32)
    buffers: dict[int, Array] = {}
    for value in program.values:
        size = math.prod(value.shape)
        if value.alias is None and value.kind == "temporary":
            if value.index in plan.offsets:
                begin = plan.offsets[value.index] // 4
                buffers[value.index] = arena[begin : begin + size]
        elif value.alias is None:
            buffers[value.index] = inputs[value.slot].ravel() if value.kind == "input" else np.empty(size, np.float32)

    def array(index: int) -> Array:
        value = program.values[index]
        strides = value.strides or compact_strides(value.shape)
        memory = buffers[program.root(index)][value.offset :]
        return np.lib.stride_tricks.as_strided(memory, value.shape, [4 * s for s in strides])

    for step in program.steps:
        *read, made = (array(index) for index in step.args)
        if step.paste is not None:
            made[_part(step.paste, read[0].shape)] = read[0]
        elif step.cut is not None:
            made[...] = read[0][_part(step.cut, made.shape)]
        elif step.kernel is None:
            made[...] = read[0]
        elif step.kernel.startswith("border"):
            around = np.ones(made.shape, bool)
            around[_part(*json.loads(step.kernel.removeprefix("border")))] = False
            made[around] = 0
        else:
            total = sum(float((a * np.arange(1, a.size + 1).reshape(a.shape)).sum()) for a in read)
            made[...] = np.sin(total + int(step.kernel) + np.arange(made.size)).reshape(made.shape)
    return {v.slot: array(v.index).copy() for v in program.values if v.kind == "output"}


def _part(begins: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(b, b + n) for b, n in zip(begins, shape, strict=True))


class Builder:
    """Programs, step by step."""

    def __init__(self) -> None:
        self.program = Program()

    def value(self, shape: Sequence[int], kind: str = "temporary", slot: int = -1, alias: int | None = None) -> int:
        self.program.values.append(Value(len(self.program.values), kind, "float32", tuple(shape), slot, alias))
        return len(self.program.values) - 1

    def shape(self, index: int) -> tuple[int, ...]:
        return self.program.values[index].shape

    def kernel(self, args: Sequence[int], shape: Sequence[int], name: str | None = None) -> int:
        made = self.value(shape)
        self.program.steps.append(Step(name or str(made), (*args, made)))
        return made

    def concat(self, parts: Sequence[int], axis: int) -> int:
        whole = list(self.shape(parts[0]))
        whole[axis] = sum(self.shape(part)[axis] for part in parts)
        made, begins = None, [0] * len(whole)
        for part in parts:
            made = self.value(whole, alias=made)
            self.program.steps.append(Step("paste", (part, made), paste=tuple(begins)))
            begins[axis] += self.shape(part)[axis]
        assert made is not None
        return made

    def pad(self, part: int, before: Sequence[int], after: Sequence[int]) -> int:
        shape = self.shape(part)
        whole = [b + n + a for b, n, a in zip(before, shape, after, strict=True)]
        border = self.kernel([], whole, f"border{json.dumps([list(before), list(shape)])}")
        made = self.value(whole, alias=border)
        self.program.steps.append(Step("paste", (part, made), paste=tuple(before)))
        return made

    def cut(self, whole: int, begins: Sequence[int], shape: Sequence[int]) -> int:
        made = self.value(shape)
        self.program.steps.append(Step("cut", (whole, made), cut=tuple(begins)))
        return made

    def reshape(self, source: int, shape: Sequence[int]) -> int:
        return self.value(shape, alias=source)

    def finish(self, results: Sequence[int]) -> tuple[Program, Program]:
        """The program as it is, and with views; results are copied out, which is not what views are about."""
        placed = place_views(self.program, results)
        programs = []
        for program in (self.program, placed):
            values, steps = list(program.values), list(program.steps)
            for slot, index in enumerate(results):
                values.append(Value(len(values), "output", "float32", values[index].shape, slot))
                steps.append(Step(None, (index, len(values) - 1)))
            programs.append(Program(values, steps))
        return programs[0], programs[1]


def copies(program: Program) -> int:
    return sum(step.paste is not None or step.cut is not None for step in program.steps)


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, Program]:
    """Random graphs of kernels, concatenations, borders, slices and reshapes over two inputs."""
    b = Builder()
    values = [b.value((2, 3, 4), "input", 0), b.value((2, 3, 4), "input", 1)]
    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(["kernel", "kernel", "concat", "concat", "pad", "cut", "reshape"]))
        source = draw(st.sampled_from(values[-4:] + values[:3]))
        shape = b.shape(source)
        if math.prod(shape) > 3000:
            continue
        if kind == "kernel":
            args = [source, *draw(st.lists(st.sampled_from(values), max_size=2))]
            made = b.kernel(args, draw(st.sampled_from([shape, (2, 3, 4), (2, 12)])))
        elif kind == "concat":
            axis = draw(st.integers(0, len(shape) - 1))
            fits = [v for v in values if _fit(b.shape(v), shape, axis)]
            made = b.concat([source, *draw(st.lists(st.sampled_from(fits), min_size=1, max_size=3))], axis)
        elif kind == "pad":
            made = b.pad(source, *([draw(st.integers(0, 2)) for _ in shape] for _ in range(2)))
        elif kind == "cut":
            begins = [draw(st.integers(0, n - 1)) for n in shape]
            made = b.cut(source, begins, [draw(st.integers(1, n - at)) for n, at in zip(shape, begins, strict=True)])
        else:
            made = b.reshape(source, draw(st.sampled_from([(math.prod(shape),), (*shape, 1), _merged(shape)])))
        values.append(made)
    results = draw(st.lists(st.sampled_from(values[2:] or values), min_size=1, max_size=3, unique=True))
    return b.finish([*results, values[-1]])


def _fit(a: Sequence[int], b: Sequence[int], axis: int) -> bool:
    return len(a) == len(b) and all(x == y for i, (x, y) in enumerate(zip(a, b, strict=True)) if i != axis)


def _merged(shape: Sequence[int]) -> Sequence[int]:
    return (shape[0] * shape[1], *shape[2:]) if len(shape) > 1 else shape


@given(programs())
def test_programs_with_views_compute_the_same(both: tuple[Program, Program]) -> None:
    plain, placed = both
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(24).astype(np.float32) for _ in range(2)]
    wanted, got = run(plain, inputs), run(placed, inputs)
    assert wanted.keys() == got.keys()
    for slot in wanted:
        np.testing.assert_array_equal(wanted[slot], got[slot])
    assert copies(placed) <= copies(plain)


def test_a_chain_of_concatenations_is_one_array() -> None:
    """As in a block of DenseNet: each kernel reads all results so far, and writes behind them."""
    b = Builder()
    features = b.kernel([b.value((1, 5, 5, 8), "input", 0)], (1, 5, 5, 8))
    for _ in range(4):
        features = b.concat([features, b.kernel([features], (1, 5, 5, 4))], 3)
    plain, placed = b.finish([features])
    assert (copies(plain), copies(placed)) == (8, 0)
    made = [step.args[-1] for step in placed.steps if step.kernel]
    assert len({placed.root(index) for index in made}) == 1
    assert [placed.values[index].offset for index in made] == [0, 8, 12, 16, 20]


def test_a_padded_concatenation_is_written_once() -> None:
    b = Builder()
    x = b.value((1, 4, 4, 8), "input", 0)
    padded = b.pad(b.concat([b.kernel([x], (1, 4, 4, 8)), b.kernel([x], (1, 4, 4, 8))], 3), (0, 1, 1, 0), (0, 1, 1, 0))
    plain, placed = b.finish([b.kernel([padded], (1, 4, 4, 4))])
    assert (copies(plain), copies(placed)) == (3, 0)
    first, second = (placed.values[step.args[-1]] for step in placed.steps[:2])
    assert first.strides[1:] == second.strides[1:] == (6 * 16, 16, 1)
    assert (first.offset, second.offset) == (7 * 16, 7 * 16 + 8)


def test_slices_are_read_where_they_are() -> None:
    b = Builder()
    x = b.value((2, 6), "input", 0)
    parts = [b.kernel([b.cut(x, (0, at), (2, 3))], (4,)) for at in (0, 3)]
    _plain, placed = b.finish(parts)
    assert copies(placed) == 0
    assert [placed.values[step.args[0]].offset for step in placed.steps[:2]] == [0, 3]


@pytest.mark.parametrize("what", ["input", "result", "twice", "reshaped", "one column"])
def test_what_cannot_be_a_view_is_copied(what: str) -> None:
    b = Builder()
    x = b.value((4, 4), "input", 0)
    made = b.kernel([x], (4, 4))
    if what == "input":
        _plain, placed = b.finish([b.concat([x, made], 1)])
    elif what == "result":
        _plain, placed = b.finish([made, b.concat([made, b.kernel([x], (4, 1))], 1)])
    elif what == "twice":
        _plain, placed = b.finish([b.concat([made, made], 1)])
    elif what == "reshaped":  # rows of a concatenation by columns are no longer neighbours
        flat = b.kernel([b.reshape(made, (16,))], (2,))
        _plain, placed = b.finish([flat, b.concat([made, b.kernel([x], (4, 2))], 1)])
    else:  # kernels read vectors along the last axis
        _plain, placed = b.finish([b.kernel([b.reshape(b.cut(made, (0, 1), (4, 1)), (4,))], (4,))])
    assert copies(placed) == 1


def test_a_part_that_is_reshaped_keeps_its_steps() -> None:
    """As the heads of detectors, whose results are reshaped before they are joined."""
    b = Builder()
    x = b.value((1, 6), "input", 0)
    parts = [b.reshape(b.kernel([x], (1, n, n, 6)), (1, n * n * 3, 2)) for n in (4, 2)]
    plain, placed = b.finish([b.concat(parts, 1)])
    assert (copies(plain), copies(placed)) == (2, 0)
    assert placed.values[placed.steps[1].args[-1]].offset == 4 * 4 * 6


@given(st.data())
def test_strides_of_a_reshaped_view_are_those_of_numpy(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    whole = tuple(n + data.draw(st.integers(0, 2)) for n in shape)
    factors = data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 12]), min_size=1, max_size=4))
    new = tuple(factors) if math.prod(factors) == math.prod(shape) else (math.prod(shape),)
    view = np.zeros(whole, np.int8)[_part((0,) * len(shape), shape)]
    found = reshape_strides(compact_strides(whole), shape, new)
    reshaped = view.reshape(new)
    assert (found is not None) == np.shares_memory(view, reshaped)
    if found is not None:
        assert [s for s, n in zip(found, new, strict=True) if n > 1] == [
            s for s, n in zip(reshaped.strides, new, strict=True) if n > 1
        ]
