"""Operators in the forms that the layout conversion can follow."""

from __future__ import annotations

from typing import Any

import pytest
from tvm import relax

from compiler.passes.plain_axes import make_axes_plain
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators

op = relax.op
WEIGHT, BIAS = relax.const(floats("w", 3, 4)), relax.const(floats("b", 3, 4))


@pytest.mark.parametrize(
    "body,gone",
    [
        (lambda x: op.stack([x, x], axis=-1), "stack"),
        (lambda x: op.stack([x, op.negative(x), x], axis=1), "stack"),
        (lambda x: op.squeeze(op.expand_dims(x, [0, -1]), [-1]), "squeeze"),
        (lambda x: op.expand_dims(x, -1), "expand_dims"),
        (lambda x: op.nn.layer_norm(x, WEIGHT, BIAS, [1, 2]), "none"),
        (lambda x: op.nn.layer_norm(x, WEIGHT, BIAS, [-2, -1]), "none"),
    ],
)
def test_results_stay(body: Any, gone: str) -> None:
    before = module([((2, 3, 4), "float32")], body)
    after = make_axes_plain(before)
    assert operators(after)[gone] == 0
    check_equal(before, after, floats("x", 2, 3, 4))


def test_a_layer_normalisation_is_left_with_one_axis() -> None:
    after = make_axes_plain(module([((2, 3, 4), "float32")], lambda x: op.nn.layer_norm(x, WEIGHT, BIAS, [1, 2])))
    (call,) = calls(after, "nn.layer_norm")
    assert len(call.attrs.axes) == 1


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
def test_a_scalar_is_not_reduced(name: str) -> None:
    before = module([((), "float32")], lambda x: op.negative(getattr(op, name)(op.abs(x), [])))
    after = make_axes_plain(before)
    assert operators(after)[name] == 0
    check_equal(before, after, floats("x"))
