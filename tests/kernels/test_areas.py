"""Register tiles: they fit the registers, several lines are better where lines are short, and results stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import te

from compiler import compile_model
from compiler.kernels.areas import Area, rows_of_tile
from compiler.kernels.limits import Limits
from compiler.kernels.packed import block_choices
from compiler.kernels.rule import Decision
from compiler.kernels.schedule import offers, schedule
from compiler.passes.winograd import convolution
from compiler.target import load_target
from tests.kernels.pointwise import pointwise
from tests.kernels.scheduled import kernel_of

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


@pytest.mark.parametrize(
    "lines, rows, most, expected", [(7, 7, None, 2), (5, 5, None, 2), (4, 4, None, 2), (3, 4, None, 3), (7, 7, 7, 1)]
)
def test_whole_lines(lines: int, rows: int, most: int | None, expected: int) -> None:
    assert Area(lines, rows, 32).whole_lines(rows, Limits(16, 32), most) == expected
    assert rows == 1 or Area(lines, rows, 32).whole_lines(rows - 1, Limits(16, 32)) == 1


@pytest.mark.parametrize("size, lines, cut", [(7, 2, 1), (6, 2, 0), (9, 1, 0)])
def test_tiles_have_whole_lines_where_weights_are_many(size: int, lines: int, cut: int, tmp_path: Path) -> None:
    """Which then are loaded half as often; the last tile has what is left."""
    proto = pointwise((2, 480, size, size), 72)
    parameters = kernel_of(proto, load_target("x86-64-v4")).parameters
    assert (parameters["lines"], parameters["cut"]) == (lines, cut)
    assert compile_model(proto, "host", tmp_path / "net.so").verified == "passed"


@pytest.mark.parametrize(
    "channels, size, vectors, of_bytes",
    [
        (128, 1, 4, 4),  # two sums wait for each other
        (257, 1, 3, 2),  # four would add a fifth of zeros
        (144, 56, 3, 2),  # of ten vectors in twos one is zeros
        (64, 14, 2, 2),
        (20, 14, 2, 2),
        (40, 1, 3, 3),
    ],
)
def test_blocks_are_wider_where_that_is_far_better(channels: int, size: int, vectors: int, of_bytes: int) -> None:
    choices = [block_choices(channels, size, size, Limits(16, 32), is_bytes) for is_bytes in (False, True)]
    assert [default for default, *_ in choices] == [vectors, of_bytes]
    assert all(len(set(some)) == len(some) and 0 not in some for some in choices)


def image(size: int, channels: int = 16, outputs: int = 32) -> Any:
    """A Winograd convolution of an image of so many rows and columns of tiles."""
    x = te.placeholder((1, 4 * size + 2, 4 * size + 2, channels), name="x")
    w = te.placeholder((1, 36, channels, outputs), name="w")
    return te.create_prim_func([x, w, convolution(x, w, (1, 4 * size, 4 * size, outputs), 4)])


@pytest.mark.parametrize("band, fits", [(7, True), (2, False), (1, False)])
def test_lines_of_winograd_stay_in_their_bands(band: int, fits: bool) -> None:
    target, program = load_target("x86-64-v4"), image(7)
    chosen = {**offers(program, target)["winograd"].default, "lines": 2, "band": band}
    assert offers(program, target)["winograd"].fits(chosen) == fits
    scheduled = schedule(program, target, Decision("winograd", chosen))
    assert ("does not offer" in scheduled.failures.get("winograd", "")) == (not fits)


@pytest.mark.parametrize("size, channels, band", [(40, 16, 1), (7, 128, 7), (5, 128, 5), (10, 64, 2), (3, 256, 3)])
def test_bands_of_winograd_weigh_what_is_read_and_computed_again(size: int, channels: int, band: int) -> None:
    """Weights are read for each band, the last one's rows may be another's: few weights need no large bands."""
    default = offers(image(size, channels, channels), load_target("x86-64-v4"))["winograd"].default
    assert default["band"] == band
