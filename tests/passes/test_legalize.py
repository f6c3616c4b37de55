"""Our own tensor programs for what TVM leaves to its runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.legalize import legalize
from tests.kernels.grid import Case, failures, one
from tests.passes.relax_modules import module, operators, run

op = relax.op


def _values(dtype: str) -> Any:
    rng = np.random.default_rng(0)
    values = rng.integers(-4, 4, (3, 17, 2)).astype(dtype)  # with ties
    if dtype == "float32":
        values[0, 3, 0], values[1, 5, 1], values[2, 1, 0] = np.inf, -np.inf, np.nan
    return values


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sorting_is_stable_and_numpys(dtype: str, axis: int) -> None:
    x = _values(dtype)
    legal = legalize(module([(x.shape, dtype)], lambda v: op.argsort(v, axis, dtype="int64")))
    assert set(operators(legal)) == {"call_tir"}
    (result,) = run(legal, x)
    np.testing.assert_array_equal(result, np.argsort(x, axis, kind="stable"))
    (result,) = run(legalize(module([(x.shape, dtype)], lambda v: op.sort(v, axis))), x)
    np.testing.assert_array_equal(result, np.sort(x, axis))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("ret_type", ["both", "values", "indices"])
def test_topk(largest: bool, ret_type: str) -> None:
    x = _values("float32")
    legal = legalize(module([(x.shape, "float32")], lambda v: op.topk(v, 5, 1, ret_type, largest, "int64")))
    names = ["values", "indices"] if ret_type == "both" else [ret_type]
    results = dict(zip(names, run(legal, x), strict=True))
    # NaN stands above every number.
    key = np.nan_to_num(x, nan=1e9, posinf=1e8, neginf=-1e8)
    expected = np.sort(-key if largest else key, axis=1)[:, :5] * (-1 if largest else 1)
    if "indices" in results:
        np.testing.assert_array_equal(np.take_along_axis(key, results["indices"], 1), expected)
        assert len(np.unique(results["indices"][0, :, 0])) == 5
    if "values" in results:
        np.testing.assert_array_equal(np.nan_to_num(results["values"], nan=1e9, posinf=1e8, neginf=-1e8), expected)


@pytest.mark.parametrize("function,numpy", [(op.sinh, np.sinh), (op.cosh, np.cosh)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_hyperbolic_functions(function: Any, numpy: Any, dtype: str) -> None:
    x = np.linspace(-3, 3, 33).astype(dtype)
    (result,) = run(legalize(module([(x.shape, dtype)], function)), x)
    np.testing.assert_allclose(result, numpy(x), rtol=2e-3 if dtype == "float16" else 1e-6)


def test_an_operator_of_tvm_is_legalised_as_ever() -> None:
    x = np.arange(3, dtype="float32")
    mod = module([(x.shape, "float32")], op.exp)
    np.testing.assert_array_equal(run(legalize(mod), x)[0], run(mod, x)[0])


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatters_into_a_part_of_the_data(reduction: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, u = rng.standard_normal((4, 5, 6)).astype("float32"), rng.standard_normal((2, 3, 4)).astype("float32")
    cases: list[Case] = []
    for axis in range(3):
        i = np.argsort(rng.random((2, 3, 4)), axis=axis)
        if reduction != "none":
            i = rng.integers(-x.shape[axis], x.shape[axis], u.shape)  # the same element several times
        cases.append(one("ScatterElements", f"{axis}", {"x": x, "i": i, "u": u}, axis=axis, reduction=reduction))
    assert not failures(cases, "host", tmp_path)


@pytest.mark.parametrize(
    "shape,axis,programs", [((200, 200), None, 2), ((3, 40000), 1, 2), ((20, 40000), 1, 1), ((2, 32771), 1, 1)]
)
def test_few_long_rows_are_reduced_in_parts(shape: tuple[int, ...], axis: int | None, programs: int) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype("float32") + 1
    legal = legalize(module([(shape, "float32")], lambda v: op.mean(v, axis)))
    reduced = [v for v in legal.functions if v.name_hint.startswith("mean")]
    assert len(reduced) == programs
    np.testing.assert_allclose(run(legal, x)[0], x.mean(axis), rtol=1e-5)
