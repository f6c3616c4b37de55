"""Normalisations in steps become one operator, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.normalisations import fuse_normalisations
from tests.kernels.grid import floats
from tests.passes.relax_modules import check_equal, module, operators

op = relax.op
ROWS, SIZE = 4, 9
EPSILON = relax.const(1e-3)


def mean(x: Any, axis: int = -1, keepdims: bool = True) -> Any:
    return op.mean(x, axis, keepdims)


def root(d: Any, square: Callable[[Any], Any] = lambda d: op.multiply(d, d)) -> Any:
    return op.sqrt(op.add(mean(square(d)), EPSILON))


FORMS: list[Callable[[Any], Any]] = [
    lambda d: op.divide(d, root(d)),
    lambda d: op.divide(d, root(d, lambda d: op.power(d, relax.const(2.0)))),
    lambda d: op.divide(d, root(d, op.square)),
    lambda d: op.multiply(op.rsqrt(op.add(EPSILON, mean(op.multiply(d, d)))), d),
    lambda d: op.multiply(d, op.divide(relax.const(1.0), root(d))),
    lambda d: op.divide(d, op.power(op.add(mean(op.multiply(d, d)), EPSILON), relax.const(0.5))),
    lambda d: op.multiply(d, op.power(op.add(mean(op.multiply(d, d)), EPSILON), relax.const(-0.5))),
]


def named(body: Callable[[Any], Any], centred: bool) -> Callable[[Any], Any]:
    """The body of x, or of x without its mean, which is one value however often it is read."""

    def made(x: Any) -> Any:
        builder = relax.BlockBuilder.current()
        return body(builder.emit(op.subtract(x, mean(x))) if centred else x)

    return made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("centred", [False, True])
def test_every_way_to_write_it(form: Callable[[Any], Any], centred: bool) -> None:
    before = module([((2, ROWS, SIZE), "float32")], named(form, centred))
    after = relax.transform.DeadCodeElimination()(fuse_normalisations(before))
    assert dict(operators(after)) == {"nn.layer_norm" if centred else "nn.rms_norm": 1}
    check_equal(before, after, 3 * floats("x", 2, ROWS, SIZE) + 1)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("shape", [(SIZE,), (1, 1, SIZE), (), (1,)])
def test_scale_and_bias_belong_to_it(centred: bool, shape: tuple[int, ...]) -> None:
    scale, bias = relax.const(floats("s", *shape)), relax.const(floats("b", *shape))
    before = module(
        [((2, ROWS, SIZE), "float32")], named(lambda d: op.add(op.multiply(scale, FORMS[0](d)), bias), centred)
    )
    after = relax.transform.DeadCodeElimination()(fuse_normalisations(before))
    assert dict(operators(after)) == ({"nn.layer_norm": 1} if centred else {"nn.rms_norm": 1, "add": 1})
    check_equal(before, after, 3 * floats("x", 2, ROWS, SIZE) + 1)


def test_a_scale_of_each_row_stays_outside() -> None:
    scale = relax.const(floats("s", ROWS, SIZE))
    before = module([((2, ROWS, SIZE), "float32")], named(lambda d: op.multiply(FORMS[0](d), scale), True))
    after = relax.transform.DeadCodeElimination()(fuse_normalisations(before))
    assert dict(operators(after)) == {"nn.layer_norm": 1, "multiply": 1}
    check_equal(before, after, floats("x", 2, ROWS, SIZE))


@pytest.mark.parametrize(
    "body",
    [
        lambda x: op.divide(x, op.sqrt(op.add(mean(op.multiply(x, x), 1), EPSILON))),
        lambda x: op.divide(x, op.sqrt(op.add(op.sum(op.multiply(x, x), -1, True), EPSILON))),
        lambda x: op.divide(x, op.sqrt(op.add(mean(op.power(x, relax.const(3.0))), EPSILON))),
        lambda x: op.divide(op.nn.relu(x), root(x)),
        lambda x: op.divide(root(x), x),
        lambda x: op.divide(x, op.sqrt(mean(op.multiply(x, x)))),
    ],
)
def test_other_things_stay(body: Callable[[Any], Any]) -> None:
    before = module([((2, ROWS, SIZE), "float32")], body)
    assert operators(fuse_normalisations(before)) == operators(before)


def test_other_types_stay() -> None:
    before = module([((ROWS, SIZE), "float64")], lambda x: _double(x))
    assert operators(fuse_normalisations(before)) == operators(before)


def _double(x: Any) -> Any:
    return op.divide(x, op.sqrt(op.add(mean(op.multiply(x, x)), relax.const(np.float64(1e-3), "float64"))))
