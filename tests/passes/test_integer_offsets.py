"""Zero points of data move from sums of integers to the float bias behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.integer_offsets import fold_integer_offsets
from tests.passes.relax_modules import check_equal, module, operators

RNG = np.random.default_rng(2)
OFFSET = RNG.integers(-9000, 9000, (5, 1, 1)).astype(np.int32)
SCALE = RNG.uniform(1e-4, 1e-3, (1, 5, 1, 1)).astype(np.float32)
BIAS = RNG.standard_normal((5, 1, 1)).astype(np.float32)


def _sum(x: Any, offset: Any, scale: Any, bias: Any) -> Any:
    moved = relax.op.astype(relax.op.subtract(x, offset), "float32")
    return relax.op.add(bias, relax.op.multiply(moved, scale))


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 5, 1, 1), (0, 5, 2, 2)])
def test_one_constant_stands_for_two(shape: tuple[int, ...]) -> None:
    before = module([(shape, "int32")], lambda x: _sum(x, *map(relax.const, (OFFSET, SCALE, BIAS))))
    after = fold_integer_offsets(relax.transform.Normalize()(before))
    left = operators(relax.transform.DeadCodeElimination()(after))
    assert left["subtract"] == 0 and left["multiply"] == left["add"] == 1
    if 0 not in shape:
        check_equal(before, after, RNG.integers(-(2**20), 2**20, shape).astype(np.int32), tolerance=1e-5)


@pytest.mark.parametrize("computed", range(3))
def test_what_is_computed_stays(computed: int) -> None:
    """An offset, a scale or a bias that is no constant."""
    values = [OFFSET.reshape(1, 5, 1, 1), SCALE, BIAS.reshape(1, 5, 1, 1)]
    given = values[computed]

    def body(x: Any, y: Any) -> Any:
        return _sum(x, *(y if n == computed else relax.const(value) for n, value in enumerate(values)))

    before = module([((2, 5, 3, 4), "int32"), (given.shape, str(given.dtype))], body)
    assert operators(fold_integer_offsets(relax.transform.Normalize()(before)))["subtract"] == 1


def test_a_result_that_the_constants_widen_stays() -> None:
    before = module([((1, 1, 3, 4), "int32")], lambda x: _sum(x, *map(relax.const, (OFFSET, SCALE, BIAS))))
    assert operators(fold_integer_offsets(relax.transform.Normalize()(before)))["subtract"] == 1


def _constants(mod: Any) -> list[Any]:
    found: list[Any] = []
    relax.analysis.post_order_visit(
        mod["main"], lambda e: found.append(e.value.numpy()) if hasattr(e, "value") and hasattr(e.value, "numpy") else 0
    )
    return found


@pytest.mark.parametrize("with_offset", [False, True])
@pytest.mark.parametrize("parts", [0.0, 0.2])
def test_a_bias_that_counts_steps_does_so_exactly(with_offset: bool, parts: float) -> None:
    """Not one that lies between two steps, in one channel."""
    counts = RNG.integers(-30000, 30000, SCALE.shape)
    bias = np.nextafter((counts * SCALE.astype(np.float64)).astype(np.float32), np.float32(9))
    bias[0, 3] += parts * SCALE[0, 3]
    offset = OFFSET.reshape(SCALE.shape)

    def body(x: Any) -> Any:
        if with_offset:
            return _sum(x, *map(relax.const, (offset, SCALE, bias)))
        return relax.op.add(relax.op.multiply(relax.op.astype(x, "float32"), relax.const(SCALE)), relax.const(bias))

    after = fold_integer_offsets(relax.transform.Normalize()(module([((2, 5, 3, 4), "int32")], body)))
    exact = ((counts - with_offset * offset) * SCALE.astype(np.float64)).astype(np.float32)
    assert any(np.array_equal(value, exact) for value in _constants(after)) == (not parts)
