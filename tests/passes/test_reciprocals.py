"""Divisions by constants become products before smooth functions, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.reciprocals import multiply_by_reciprocals
from tests.kernels.grid import floats
from tests.passes.relax_modules import check_equal, module, operators

op = relax.op


@pytest.mark.parametrize("divisor", [np.float32(2**0.5), floats("d", 7), np.full((1, 1), -3, "float32")])
def test_a_smooth_function_of_a_quotient(divisor: Any) -> None:
    before = module([((4, 7), "float32")], lambda x: op.erf(op.divide(x, relax.const(divisor))))
    after = relax.transform.DeadCodeElimination()(multiply_by_reciprocals(before))
    assert dict(operators(after)) == {"multiply": 1, "erf": 1}
    check_equal(before, after, floats("x", 4, 7), tolerance=1e-6)


def test_rounding_of_quotients_by_channel() -> None:
    scales = np.abs(floats("d", 7)) + 0.1
    before = module([((4, 7), "float32")], lambda x: op.round(op.divide(x, relax.const(scales))))
    after = relax.transform.DeadCodeElimination()(multiply_by_reciprocals(before))
    assert dict(operators(after)) == {"multiply": 1, "round": 1}
    check_equal(before, after, 50 * floats("x", 4, 7), tolerance=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        lambda x: op.floor(op.divide(x, relax.const(3.0))),
        lambda x: op.round(op.divide(x, relax.const(3.0))),
        lambda x: op.divide(x, relax.const(3.0)),
        lambda x: op.erf(op.divide(x, relax.const(0.0))),
        lambda x: op.erf(op.divide(x, relax.const(np.float32(3e38)))),  # its reciprocal has fewer digits
        lambda x: op.erf(op.divide(relax.const(3.0), x)),
        lambda x: op.erf(op.divide(x, x)),
    ],
)
def test_others_stay(body: Callable[[Any], Any]) -> None:
    before = module([((4, 7), "float32")], body)
    assert operators(multiply_by_reciprocals(before)) == operators(before)
