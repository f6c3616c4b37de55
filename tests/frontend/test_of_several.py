"""Max, Min, Sum and Mean of several tensors: broadcast, of one, and element by element."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.frontend.prepare import load_model, prepare
from tests.kernels.grid import Case, failures, floats, one, rng_of
from tests.models import model, node
from tests.passes.relax_modules import operators

OPERATORS = ("Max", "Min", "Sum", "Mean")


def several(operator: str, *shapes: tuple[int, ...], dtype: str = "float32") -> Case:
    name = f"{operator} {dtype} {shapes}"
    arrays = [floats(name + str(n), *shape) for n, shape in enumerate(shapes)]
    if dtype != "float32":
        arrays = [rng_of(name + str(n)).integers(-90, 90, shape).astype(dtype) for n, shape in enumerate(shapes)]
    return one(operator, name, dict(zip("abcd", arrays, strict=False)))


def test_results_equal_the_reference(tmp_path: Path) -> None:
    shapes: list[tuple[tuple[int, ...], ...]] = [
        ((3, 5),),
        ((3, 5), (3, 5)),
        ((3, 1), (5,), ()),
        ((1, 7, 1), (2, 1, 3), (1,), (2, 7, 3)),
        ((0, 4), (4,)),
    ]
    cases = [several(operator, *given) for operator in OPERATORS for given in shapes]
    cases += [
        several(operator, (4, 9), (9,), dtype=dtype) for operator in ("Max", "Min") for dtype in ("int32", "int64")
    ]
    assert not failures(cases, "host", tmp_path)


@pytest.mark.parametrize("operator", OPERATORS)
def test_nothing_is_put_into_one_tensor(operator: str) -> None:
    proto = model([node(operator, "x k z", "y")], {"x": [4, 6], "z": [6]}, ["y"], {"k": np.ones(6, np.float32)})
    made = operators(prepare(load_model(proto)).module)
    assert "stack" not in made and "concat" not in made
