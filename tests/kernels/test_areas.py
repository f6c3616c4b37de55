"""Register tiles: they fit the registers, several lines are better where lines are short, and results stay the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import te

from compiler.kernels.areas import Area, rows_of_tile
from compiler.kernels.limits import Limits
from compiler.kernels.rule import Decision
from compiler.kernels.schedule import offers, schedule
from compiler.passes.winograd import convolution
from compiler.target import load_target

extents = st.integers(1, 60)


@given(extents, extents, st.sampled_from([4, 16, 32, 48]), st.sampled_from([(4, 16), (8, 16), (16, 32)]), st.booleans())
def test_tiles_fit_registers_and_area(lines: int, rows: int, width: int, machine: tuple[int, int], by: bool) -> None:
    limits, area = Limits(*machine), Area(lines, rows, width)
    tile = area.tile(limits, by_element=by)
    near = area.tiles_near(tile, limits, by)
    assert tile in near and len(set(near)) == len(near)
    for high, long in near:
        assert 1 <= high <= lines and 1 <= long <= rows
        assert high * long * max(1, width // limits.lanes) <= limits.registers
    high, long = tile
    assert area.passes(tile) * high * long >= lines * rows


def test_short_lines_make_tiles_of_several() -> None:
    limits = Limits(16, 32)
    assert Area(8, 2, 32).tile(limits) == (4, 2)
    assert Area(8, 14, 32).tile(limits) == (1, 14) == (1, rows_of_tile(14, 32, limits))
    assert Area(1, 2, 32).tile(limits) == (1, 2)
    assert Area(8, 2, 32).tile(limits, cap=4) == (2, 2)


def image(size: int) -> Any:
    """A Winograd convolution of an image of so many rows and columns of tiles."""
    x = te.placeholder((1, 4 * size + 2, 4 * size + 2, 16), name="x")
    w = te.placeholder((1, 36, 16, 32), name="w")
    return te.create_prim_func([x, w, convolution(x, w, (1, 4 * size, 4 * size, 32), 4)])


@pytest.mark.parametrize("band, fits", [(7, True), (2, False), (1, False)])
def test_lines_of_winograd_stay_in_their_bands(band: int, fits: bool) -> None:
    target, program = load_target("x86-64-v4"), image(7)
    chosen = {**offers(program, target)["winograd"].default, "lines": 2, "band": band}
    assert offers(program, target)["winograd"].fits(chosen) == fits
    scheduled = schedule(program, target, Decision("winograd", chosen))
    assert ("does not offer" in scheduled.failures.get("winograd", "")) == (not fits)
