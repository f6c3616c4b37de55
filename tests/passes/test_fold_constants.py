"""Calls on constants are computed at compile time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.fold_constants import fold_constants
from tests.kernels.grid import floats
from tests.passes.relax_modules import check_equal, module, operators, run

op = relax.op
X = [((3, 4), "float32")]
W = relax.const(floats("w", 4, 3))
N = relax.const(np.array([[7, -7, 9, 1]] * 3, "int64"), "int64")


@pytest.mark.parametrize(
    "body",
    [
        lambda x: op.add(x, op.permute_dims(W)),
        lambda x: op.add(x, op.reshape(W, (3, 4))),
        lambda x: op.add(x, op.flip(op.permute_dims(W), 1)),
        lambda x: op.add(x, op.squeeze(op.expand_dims(op.permute_dims(W), 0), 0)),
        lambda x: op.add(x, op.broadcast_to(relax.const(floats("v", 4)), (3, 4))),
        lambda x: op.multiply(x, op.sqrt(op.abs(op.permute_dims(W)))),
        lambda x: op.divide(x, op.add(op.multiply(op.permute_dims(W), relax.const(2.0)), relax.const(9.0))),
        lambda x: op.subtract(x, op.negative(op.divide(op.permute_dims(W), relax.const(3.0)))),
        lambda x: op.add(x, op.astype(op.subtract(N, relax.const(np.array(2), "int64")), "float32")),
    ],
)
def test_one_call_is_left(body: Any) -> None:
    before = module(X, body)
    after = fold_constants(before)
    assert sum(operators(before).values()) > 1 and sum(operators(after).values()) == 1
    check_equal(before, after, floats("x", 3, 4))


@pytest.mark.parametrize("mode", ["fast", "wrap", "clip"])
def test_elements_of_constants(mode: str) -> None:
    inside = [2, 0, 1] if mode == "fast" else [5, 0, -7]
    picked = relax.const(np.array(inside), "int64")
    before = module(X, lambda x: op.add(x, op.permute_dims(op.take(W, picked, axis=1, mode=mode))))
    after = fold_constants(before)
    assert dict(operators(after)) == {"add": 1}
    check_equal(before, after, floats("x", 3, 4))


def test_choices_between_constants() -> None:
    chosen = relax.const(np.arange(4) % 2 == 0)
    before = module(X, lambda x: op.add(x, op.where(chosen, relax.const(floats("a", 3, 4)), relax.const(2.0))))
    after = fold_constants(before)
    assert dict(operators(after)) == {"add": 1}
    check_equal(before, after, floats("x", 3, 4))


def test_the_shape_of_anything_is_a_constant() -> None:
    before = module(X, lambda x: op.shape_to_tensor(op.shape_of(x)))
    (value,) = run(fold_constants(before), floats("x", 3, 4))
    assert value.dtype == np.int64 and value.tolist() == [3, 4]
    assert "shape_to_tensor" not in operators(fold_constants(before))


def test_integer_division_is_left_to_tvm() -> None:
    three = relax.const(np.array(3), "int64")
    before = module(X, lambda x: op.add(x, op.astype(op.divide(N, three), "float32")))
    check_equal(before, fold_constants(before), floats("x", 3, 4))


def test_calls_on_inputs_stay() -> None:
    before = module(X, lambda x: op.permute_dims(op.add(x, relax.const(1.0))))
    assert operators(fold_constants(before)) == operators(before)


def test_large_results_of_small_constants_are_left_to_run_time() -> None:
    row = relax.const(floats("row", 1024))
    grown = module([((1024, 1024), "float32")], lambda x: op.add(x, op.broadcast_to(row, (1024, 1024))))
    from compiler.passes.fold_constants import _fold
    from compiler.passes.rewrite import rewrite_calls

    assert operators(rewrite_calls(grown, _fold))["broadcast_to"] == 1


@pytest.mark.parametrize(("last", "left"), [(5, 1), (2, 0)])
def test_constants_of_sums_are_added_up(last: int, left: int) -> None:
    def body(x: Any) -> Any:
        return op.subtract(op.add(x, relax.const(np.int32(2))), relax.const(np.int32(last)))

    before = module([((3, 4), "int32")], body)
    after = relax.transform.DeadCodeElimination()(fold_constants(before))
    assert (sum(operators(before).values()), sum(operators(after).values())) == (2, left)
    check_equal(before, after, np.arange(12, dtype=np.int32).reshape(3, 4))
