"""Patches: which vectors copy them, and where they are used; their results are in tests/kernels/cases_integer.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.kernels.limits import limits_of
from compiler.passes.patches import _pieces, takes_patches
from compiler.target import load_target

NEON = limits_of(load_target("raspberry-pi-4"))


@given(st.integers(1, 200))
def test_pieces_are_all_of_a_run_and_nothing_beyond(run: int) -> None:
    taken: set[int] = set()
    for begin, lanes in _pieces(run):
        assert lanes in (1, 2, 4, 8, 16)
        taken.update(range(begin, begin + lanes))
    assert taken == set(range(run))


@pytest.mark.parametrize(
    ("kernel", "shape", "dilation", "taken"),
    [
        ((3, 3, 3), (1, 112, 112, 32), 1, True),
        ((7, 7, 3), (1, 112, 112, 64), 1, True),
        ((10, 4, 1), (1, 25, 5, 64), 1, True),
        ((3, 3, 3), (1, 112, 112, 32), 2, False),  # nothing lies side by side
        ((3, 3, 16), (1, 32, 32, 16), 1, False),  # its rows fill vectors
        ((3, 3, 3), (1, 112, 112, 1), 1, False),  # copying is more than multiplying
        ((3, 3, 3), (1, 2000, 2000, 32), 1, False),  # too large
        ((3, 3, 1), (1, 8, 8, 32), 1, False),  # less than a vector
    ],
)
def test_they_serve_rows_that_fill_no_vectors(
    kernel: tuple[int, ...], shape: tuple[int, ...], dilation: int, taken: bool
) -> None:
    assert takes_patches(kernel, shape, dilation, NEON) == taken
    assert not takes_patches(kernel, shape, dilation, replace(NEON, partial_sums=False))
