"""Constants of arrays, without a copy."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.passes.constants import constant


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
def test_a_constant_is_the_arrays_own_memory(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    made = constant(array)
    assert [int(d) for d in made.ty.shape] == [2, 3]
    assert str(made.ty.dtype) == dtype
    assert np.shares_memory(np.from_dlpack(made.value), array)


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.broadcast_to(np.float32(2), (3, 4))])
def test_what_is_not_contiguous_or_read_only_is_copied(array: np.ndarray) -> None:
    np.testing.assert_array_equal(constant(array).value.numpy(), array)


def test_scalars_and_arrays_without_elements() -> None:
    for array in (np.array(3, np.float32), np.zeros((0, 2), np.float32)):
        assert constant(array).value.numpy().shape == array.shape
