"""Chains of views as windows: offset and steps find the elements that the chain shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.rewrite import definitions_of
from compiler.passes.windows import Window, window_of
from tests.passes.relax_modules import module, run

op = relax.op
SHAPE = (2, 6, 12)


def look(body: Callable[[Any], Any], scaled: bool = True) -> tuple[Window, Any, np.ndarray[Any, Any]]:
    """The window on what a body makes of its parameter, the parameter, and the values for 0, 1, 2, …"""
    mod = module([(SHAPE, "float32")], body)
    (values,) = run(mod, np.arange(np.prod(SHAPE), dtype="float32").reshape(SHAPE))
    window = window_of(mod["main"].body.body, definitions_of(mod), values.shape, scaled)
    return window, mod["main"].params[0], values


def shown(window: Window) -> np.ndarray[Any, Any]:
    """The numbers of the elements that a window shows."""
    at = np.indices(window.shape)
    return window.offset + sum((step * i for step, i in zip(window.steps, at, strict=True)), np.zeros(window.shape))


@pytest.mark.parametrize(
    "body",
    [
        lambda x: op.permute_dims(x, [1, 2, 0]),
        lambda x: op.permute_dims(op.reshape(x, (2, 6, 3, 4)), [2, 0, 1, 3]),
        lambda x: op.take(op.reshape(x, (2, 6, 3, 4)), relax.const(2, "int64"), axis=2),
        lambda x: op.take(x, relax.const(3, "int64"), axis=-1),
        lambda x: op.split(x, [4, 9], axis=2)[1],
        lambda x: op.reshape(op.split(x, 3, axis=1)[2], (2, 2, 4, 3)),
        lambda x: op.strided_slice(x, [1, 2], [1, 3], [6, 11], [2, 3]),
        lambda x: op.strided_slice(x, [2], [-1], [-20], [-4]),
        lambda x: op.broadcast_to(op.strided_slice(x, [0], [1], [2]), (5, 6, 12)),
    ],
)
def test_elements_are_those_of_the_chain(body: Callable[[Any], Any]) -> None:
    window, param, values = look(body)
    assert window.source.same_as(param) and window.factor == 1
    np.testing.assert_array_equal(shown(window), values)


def test_numbers_that_multiply_are_a_factor() -> None:
    def body(x: Any) -> Any:
        half = op.multiply(relax.const(0.5), op.permute_dims(x, [0, 2, 1]))
        return op.divide(op.reshape(half, (2, 12, 2, 3)), relax.const(4.0))

    window, param, values = look(body)
    assert window.source.same_as(param) and window.factor == 0.125
    np.testing.assert_array_equal(shown(window) * window.factor, values)
    window, _param, values = look(body, scaled=False)
    assert window.factor == 1 and window.steps == (72, 6, 3, 1)


@pytest.mark.parametrize(
    "body",
    [
        lambda x: op.reshape(op.permute_dims(x, [2, 1, 0]), (3, 48)),  # moves elements
        lambda x: op.permute_dims(op.nn.relu(x), [2, 1, 0]),
        lambda x: op.multiply(x, relax.const(np.ones((2, 1, 1), "float32"))),
        lambda x: op.take(x, relax.const(np.array([1, 0]), "int64"), axis=0),
        lambda x: op.take(x, relax.const(-1, "int64"), axis=0, mode="wrap"),
    ],
)
def test_anything_else_is_the_source(body: Callable[[Any], Any]) -> None:
    window, param, values = look(body)
    assert not window.source.same_as(param)
    assert sorted(shown(window).reshape(-1)) == list(range(values.size))


def test_a_value_is_broadcast_to_the_shape_asked_for() -> None:
    mod = module([((3, 1, 2), "float32")], lambda x: op.permute_dims(x, [1, 0, 2]))
    window = window_of(mod["main"].body.body, definitions_of(mod), (4, 5, 3, 2))
    assert window.source.same_as(mod["main"].params[0]) and window.steps == (0, 0, 2, 1)
