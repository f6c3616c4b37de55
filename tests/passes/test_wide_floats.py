"""What float16 and bfloat16 add up is as exact as the last rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.wide_floats import widen_floats
from tests.passes.relax_modules import module, operators, run

op = relax.op
ONES = np.ones((3, 5000), "float16")


@pytest.mark.parametrize(
    ("arrays", "body", "expected"),
    [
        ([ONES], lambda x: op.sum(x, [1]), np.full(3, 5000)),
        ([ONES], lambda x: op.mean(x, [1]), np.ones(3)),
        ([ONES], lambda x: op.nn.softmax(x), np.full((3, 5000), 1 / 5000)),
        ([ONES, ONES.T.copy()], op.matmul, np.full((3, 3), 5000)),
    ],
)
def test_sums_of_more_terms_than_float16_counts(arrays: Sequence[Any], body: Callable[..., Any], expected: Any) -> None:
    before = module([(array.shape, "float16") for array in arrays], body)
    (result,) = run(widen_floats(before), *arrays)
    assert result.dtype == np.float16
    np.testing.assert_allclose(result, expected.astype("float16"), rtol=1e-3)


def test_other_types_and_other_operators_stay() -> None:
    for dtype, body in (("float32", lambda x: op.sum(x, [0])), ("float16", lambda x: op.max(x, [0]))):
        before = module([((4, 7), dtype)], body)
        assert operators(widen_floats(before)) == operators(before)


def test_bfloat16() -> None:
    before = module([((4, 512), "bfloat16")], lambda x: op.sum(x, [1]))
    after = widen_floats(before)
    assert operators(after) == {"astype": 2, "sum": 1}
    assert str(after["main"].ret_ty.dtype) == "bfloat16"
