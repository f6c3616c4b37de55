"""Batch normalisations become a product and a sum, with the values that their definition has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from compiler.passes.batch_norms import fold_batch_norms
from tests.kernels.grid import floats
from tests.passes.relax_modules import check_equal, module, operators

op = relax.op


def normalised(shape: tuple[int, ...], axis: int, variance: Any = None, **attributes: Any) -> tvm.IRModule:
    size = shape[axis]
    gamma, beta, mean = (relax.const(floats(name, size)) for name in ("gamma", "beta", "mean"))
    spread = relax.const(np.abs(floats("variance", size)) + 0.1 if variance is None else variance)

    def body(x: Any) -> Any:
        return op.nn.batch_norm(x, gamma, beta, mean, spread, axis, **attributes)[0]

    return module([(shape, "float32")], body)


@pytest.mark.parametrize("shape,axis", [((2, 5, 3, 4), 1), ((3, 4, 5), -1), ((2, 1), 1), ((1, 6, 1, 1), 1)])
@pytest.mark.parametrize("attributes", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.3}])
def test_one_product_and_one_sum(shape: tuple[int, ...], axis: int, attributes: dict[str, Any]) -> None:
    before = normalised(shape, axis, training=False, **attributes)
    after = fold_batch_norms(before)
    assert dict(operators(after)) == {"multiply": 1, "add": 1}
    check_equal(relax.transform.DecomposeOpsForInference()(before), after, floats("x", *shape), tolerance=1e-5)


def test_what_is_no_number_stays_as_it_is() -> None:
    before = normalised((2, 3, 4), 1, np.array([1.0, -2.0, 1.0], np.float32), training=False)
    assert operators(fold_batch_norms(before))["nn.batch_norm"] == 1


def test_statistics_of_the_data_are_not_folded() -> None:
    assert operators(fold_batch_norms(normalised((2, 3, 4), 1, training=True)))["nn.batch_norm"] == 1
