"""Constants among others that are denormal become 0, where they are factors or terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm_ffi
from tvm import ir, relax

from compiler.passes.denormals import drop_denormals
from tests.passes.relax_modules import module

op = relax.op

TINY = np.array([1, 1e-40, -3e-45, -2, 1.2e-38], np.float32)
CLEAN = np.array([1, 0, 0, -2, 1.2e-38], np.float32)


def constants(changed: Any) -> list[np.ndarray[Any, Any]]:
    found: list[Any] = []
    tvm_ffi.structural_walk(changed["main"].body, [(ir.GenericConst, lambda c: found.append(c.value.numpy()))])
    return found


def of(body: Callable[[Any], Any], *shape: int) -> list[np.ndarray[Any, Any]]:
    return constants(drop_denormals(module([(shape, "float32")], body)))


@pytest.mark.parametrize("operator", [op.add, op.subtract, op.multiply])
def test_terms_and_factors(operator: Any) -> None:
    for found in (of(lambda x: operator(x, relax.const(TINY)), 2, 5), of(lambda x: operator(relax.const(TINY), x), 5)):
        assert np.array_equal(found, [CLEAN])


def test_weights_and_slopes() -> None:
    assert np.array_equal(of(lambda x: op.matmul(x, relax.const(TINY[:, None])), 2, 5), [CLEAN[:, None]])
    kernel = TINY.reshape(1, 1, 5, 1)
    assert np.array_equal(of(lambda x: op.nn.conv2d(x, relax.const(kernel)), 1, 1, 7, 7), [CLEAN.reshape(1, 1, 5, 1)])
    assert np.array_equal(of(lambda x: op.nn.prelu(x, relax.const(TINY), axis=1), 2, 5), [CLEAN])


@pytest.mark.parametrize(
    "body",
    [
        lambda x: op.add(x, relax.const(np.float32(1e-40))),  # of nothing else
        lambda x: op.add(x, relax.const(TINY[1:3])),
        lambda x: op.divide(x, relax.const(TINY)),
        lambda x: op.maximum(x, relax.const(TINY)),
        lambda x: op.add(x, relax.const(np.array([np.nan, 1], np.float32))),
        lambda x: op.add(x, relax.const(np.array([], np.float32))),
    ],
)
def test_others_stay(body: Callable[[Any], Any]) -> None:
    before = module([((2, 1), "float32")], body)
    (was,), (found,) = constants(before), constants(drop_denormals(before))
    assert np.array_equal(was, found, equal_nan=True)
