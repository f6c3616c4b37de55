"""Group normalisations in steps become one operator, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.operators.group_norm import group_norm, groups_of
from compiler.passes.group_norms import fuse_group_norms
from tests.kernels.grid import floats
from tests.passes.relax_modules import calls, check_equal, module, operators, run

op = relax.op
SHAPE, GROUPS = (2, 12, 3, 5), 4


def spelled(x: Any, groups: int = GROUPS, rows: tuple[int, ...] = (2, GROUPS, -1), **more: Any) -> Any:
    """x reshaped, each group normalised, and reshaped back."""
    builder = relax.BlockBuilder.current()
    scale, bias = (relax.const(floats(name, groups)) for name in "sb")
    flat = builder.emit(op.reshape(x, rows))
    made = builder.emit(group_norm(flat, scale, bias, groups, 1e-3, **more))
    return builder.emit(op.reshape(made, SHAPE))


def affine(x: Any, *shape: int) -> Any:
    builder = relax.BlockBuilder.current()
    made = builder.emit(op.multiply(relax.const(floats("m", *shape)), spelled(x)))
    return builder.emit(op.add(made, relax.const(floats("a", *shape))))


def fused(body: Callable[[Any], Any]) -> tuple[Any, Any]:
    before = module([(SHAPE, "float32")], body)
    return before, relax.transform.DeadCodeElimination()(fuse_group_norms(before))


def test_reshaped_images_are_normalised_as_they_are() -> None:
    before, after = fused(spelled)
    assert dict(operators(after)) == {"edgec.group_norm": 1}
    assert groups_of(calls(after)[0]) == GROUPS
    check_equal(before, after, 3 * floats("x", *SHAPE) + 1)


@pytest.mark.parametrize("shape", [(12, 1, 1), (1, 12, 1, 1), (), (1,)])
def test_scale_and_bias_of_channels_belong_to_it(shape: tuple[int, ...]) -> None:
    before, after = fused(lambda x: affine(x, *shape))
    assert dict(operators(after)) == {"edgec.group_norm": 1}
    check_equal(before, after, 3 * floats("x", *SHAPE) + 1)


@pytest.mark.parametrize("shape", [(5,), (3, 1), (12, 3, 1)])
def test_others_stay_outside(shape: tuple[int, ...]) -> None:
    before, after = fused(lambda x: affine(x, *shape))
    assert dict(operators(after)) == {"edgec.group_norm": 1, "multiply": 1, "add": 1}
    check_equal(before, after, floats("x", *SHAPE))


def test_what_is_read_twice_gets_no_scale() -> None:
    def body(x: Any) -> Any:
        builder = relax.BlockBuilder.current()
        made = spelled(x)
        scaled = builder.emit(op.multiply(made, relax.const(floats("m", 12, 1, 1))))
        return builder.emit(op.add(made, scaled))

    before, after = fused(body)
    assert dict(operators(after)) == {"edgec.group_norm": 1, "multiply": 1, "add": 1}
    check_equal(before, after, floats("x", *SHAPE))


@pytest.mark.parametrize(
    "body",
    [
        lambda x: spelled(x, 24, (1, 24, -1)),  # images in one another
        lambda x: spelled(x, 36, (2, 36, -1)),  # parts of channels
    ],
)
def test_other_reshapes_stay(body: Callable[[Any], Any]) -> None:
    before, after = fused(body)
    assert operators(after) == operators(before)


def test_every_axis_may_have_the_channels() -> None:
    x = floats("x", 4, 3, 2, 6)  # height, width, image, channel
    scale, bias = floats("s", 6), floats("b", 6)
    made = module(
        [(x.shape, "float32")],
        lambda v: relax.BlockBuilder.current().emit(
            group_norm(v, relax.const(scale), relax.const(bias), 3, 1e-3, axes=(2, 3))
        ),
    )
    moved = module(
        [((2, 6, 4, 3), "float32")],
        lambda v: relax.BlockBuilder.current().emit(group_norm(v, relax.const(scale), relax.const(bias), 3, 1e-3)),
    )
    (result,) = run(made, x)
    (expected,) = run(moved, np.ascontiguousarray(x.transpose(2, 3, 0, 1)))
    np.testing.assert_allclose(result.transpose(2, 3, 0, 1), expected, rtol=1e-5, atol=1e-5)
