"""Numbers that the cost model learns from, of records that anybody may have written."""

from __future__ import annotations

import pytest

from compiler.tune.features import numbers


@pytest.mark.parametrize(
    "spatial, parameters, waste",
    [
        ([1, 7, 7, 4, 32], {"rows": 7, "lines": 1}, 1.0),
        ([1, 7, 7, 4, 32], {"rows": 7, "lines": 2}, 8 / 7),
        ([1, 7, 7, 4, 32], {"rows": 4, "lines": 2}, 64 / 49),
        ([1, 7, 7, 4, 32], {"rows": 4, "lines": 2, "cut": 1}, None),  # what is left is a tile of its own
        ([17, 40], {"rows": 4}, 20 / 17),  # of another rule, whose last axis alone is in vectors
        ([], {"rows": 4, "lines": 2}, 8.0),
        ([5, 16], {"vectors": 2}, None),
    ],
)
def test_what_is_computed_twice(spatial: list[int], parameters: dict[str, int], waste: float | None) -> None:
    made = numbers({"family": "packed", "flops": 2.0, "spatial": spatial}, parameters)
    assert made.get("waste") == (None if waste is None else pytest.approx(waste))
    assert made["flops"] == 2.0 and all(made[f"parameter {name}"] == value for name, value in parameters.items())
