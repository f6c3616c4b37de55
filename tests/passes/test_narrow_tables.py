"""Tables of integers are stored narrow, and what is read from them is what they held."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from compiler.passes.narrow_tables import narrow_tables
from tests.passes.relax_modules import calls, check_equal, module

op = relax.op
PLACES = np.array([[0, 63, 5], [99, 64, 1]], "int64")


def _table(least: int, most: int, dtype: str, *shape: int) -> np.ndarray:
    table = np.linspace(least, most, int(np.prod(shape)), dtype=np.float64).round().astype(dtype)
    table[0], table[-1] = least, most
    return table.reshape(shape)


@pytest.mark.parametrize(
    ("least", "most", "dtype", "narrow"),
    [
        (-128, 127, "int64", "int8"),
        (0, 255, "int64", "uint8"),
        (-1, 128, "int32", "int16"),
        (0, 65535, "uint32", "uint16"),
        (-(2**31), 2**31 - 1, "int64", "int32"),
        (0, 2**31, "int64", "int64"),
        (-200, 5, "int16", "int16"),
        (-3, 5, "int8", "int8"),
    ],
)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_values_come_back(least: int, most: int, dtype: str, narrow: str, axis: int | None) -> None:
    table = _table(least, most, dtype, 100) if axis is None else _table(least, most, dtype, 100, 100)
    before = module([((2, 3), "int64")], lambda i: op.take(relax.const(table, dtype), i, axis))
    after = relax.transform.DeadCodeElimination()(narrow_tables(before))
    (take,) = calls(after, "take")
    assert str(take.args[0].ty.dtype) == narrow
    check_equal(before, after, PLACES, tolerance=0)


def test_others_stay() -> None:
    """A float, a short table, one that is not known before, and a table of truth values."""
    for table in (np.ones(100, "float32"), np.arange(63), np.ones(100, bool)):
        before = module([((2, 3), "int64")], lambda i, t=table: op.take(relax.const(t, str(t.dtype)), i))
        (take,) = calls(narrow_tables(before), "take")
        assert str(take.args[0].ty.dtype) == str(table.dtype)
    before = module([((100,), "int64"), ((2, 3), "int64")], lambda x, i: op.take(x, i))
    assert not calls(narrow_tables(before), "astype")


@pytest.mark.parametrize("mode", ["wrap", "clip"])
def test_the_mode_stays(mode: str) -> None:
    table = _table(-4, 4, "int64", 100)
    before = module([((2, 3), "int64")], lambda i: op.take(relax.const(table, "int64"), i, mode=mode))
    check_equal(before, narrow_tables(before), PLACES - 120, tolerance=0)
