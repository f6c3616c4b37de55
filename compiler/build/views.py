"""Copies that a program can do without: their arguments and results become views of one memory.

A step that pastes a value into a larger one is left out if the kernel that makes the value can write into the
larger one's memory directly, and a step that cuts a part out of a value is if those who read the part can find it
where it is. Kernels keep the shapes of their arguments; they are compiled for the strides (variants.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .program import Layout, Program, Step

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Place:
    """Where a value is in another one: a part of it of this shape, seen in the value's own shape."""

    parent: int
    begins: Shape
    shape: Shape


def place_views(program: Program, outputs: Sequence[int]) -> Program:
    """The program with as few pasting and cutting steps as its values' layouts allow.

    Args:
        outputs: values that the program returns, which stay arrays of their own.
    """
    views = _Views(program, outputs)
    steps = [step for step in program.steps if not views.spare(step)]
    values = list(program.values)
    for index, place in views.places.items():
        layout = views.layouts[index]
        strides = None if layout.strides == compact_strides(values[index].shape) else layout.strides
        values[index] = replace(values[index], alias=place.parent, offset=layout.offset, strides=strides)
    return replace(program, values=values, steps=steps)


class _Views:
    """The values of a program as trees of views, to which more are added while every value's strides exist."""

    def __init__(self, program: Program, outputs: Sequence[int]) -> None:
        self.values = program.values
        self.places: dict[int, _Place] = {}
        self.children: dict[int, list[int]] = {}
        self.layouts = {v.index: Layout(0, compact_strides(v.shape)) for v in self.values}
        for value in self.values:
            if value.alias is not None:
                parent = self.values[value.alias]
                place = _Place(parent.index, (0,) * len(parent.shape), parent.shape)
                self.places[value.index] = place
                self.children.setdefault(parent.index, []).append(value.index)
        # Programs inside get and make compact arrays only.
        inside = (index for step in program.steps if step.flow for index in step.args)
        self.fixed = {self.root(index) for index in (*outputs, *inside)}

    def root(self, index: int) -> int:
        while index in self.places:
            index = self.places[index].parent
        return index

    def spare(self, step: Step) -> bool:
        """Makes a view of the one value of a copying step that is a part of the other, if that can be."""
        source, result = step.args[0], step.args[-1]
        if step.cut is not None:
            return self._put(result, _Place(source, step.cut, self.values[result].shape))
        if step.paste is not None and self._is_whole(source):
            return self._put(self.root(source), _Place(result, step.paste, self.values[source].shape))
        return False

    def _is_whole(self, index: int) -> bool:
        """Whether a value has all the elements of the one whose memory it is in."""
        size = math.prod(self.values[index].shape)
        return size == math.prod(self.values[self.root(index)].shape)

    def _put(self, index: int, place: _Place) -> bool:
        """Moves a value that owns its memory into another one's."""
        value = self.values[index]
        owner = self.root(place.parent)
        if value.kind != "temporary" or index in self.places or index in self.fixed or owner == index:
            return False
        layouts = self._layouts(index, place)
        if layouts is None:
            return False
        self.layouts.update(layouts)
        self.places[index] = place
        self.children.setdefault(place.parent, []).append(index)
        return True

    def _layouts(self, index: int, place: _Place) -> dict[int, Layout] | None:
        """The layouts of a value put at a place and of all its views; None if one has no strides to describe it."""
        found: dict[int, Layout] = {}
        todo = [(index, place)]
        while todo:
            index, place = todo.pop()
            outer = found.get(place.parent, self.layouts[place.parent])
            shape = self.values[index].shape
            strides = reshape_strides(outer.strides, place.shape, shape)
            if strides is None or strides[-1:] not in ((), (1,)):  # vectors of the last axis are loaded at once
                return None
            begin = sum(at * stride for at, stride in zip(place.begins, outer.strides, strict=True))
            found[index] = Layout(outer.offset + begin, strides)
            todo += [(child, self.places[child]) for child in self.children.get(index, ())]
        return found


def compact_strides(shape: Shape) -> Shape:
    """Strides of an array without gaps, the last axis closest together."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def reshape_strides(strides: Shape, old: Shape, new: Shape) -> Shape | None:
    """The strides that show an array of strides in another shape; None if there are none.

    Axes of size 1 get the stride that a compact array would have.
    """
    # Runs: the elements along neighbouring axes whose strides let them be one axis.
    runs: list[tuple[int, int]] = []
    for size, stride in zip(old, strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == size * stride:
            runs[-1] = (runs[-1][0] * size, stride)
        else:
            runs.append((size, stride))
    made: list[int] = []
    left, step = 1, 1
    for size in reversed(new):
        if size > 1 and left == 1:
            left, step = runs.pop()
        if left % size:
            return None
        made.append(step)
        left, step = left // size, step * size
    return tuple(reversed(made))
