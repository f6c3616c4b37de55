"""Division of clamped numbers is exact, by multiply-adds or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tvm import te, tirx

from compiler.build.codegen import lower_kernel
from compiler.kernels.schedule import schedule
from compiler.target import load_target
from tests.executors import ONE_OF_EACH
from tests.kernels.grid import Array, Case, failures, rng_of

DIVISORS = (6.0, 3.0, 0.1, 1 / 3, 4.0, 0.007812501, 12345.678, -7.0, 3e38)


def clamped(divisor: float, low: float, high: float) -> Case:
    """Of random numbers, whole ones and multiples of the divisor, and those beyond the bounds."""
    name = f"{divisor} {low} {high}"
    rng = rng_of(name)
    special = np.array([np.inf, -np.inf, 1e38, -1e38, 0.0, low, high], np.float32)
    multiples = np.arange(-64, 64, dtype=np.float32) * np.float32(divisor if abs(divisor) < 1e30 else 1.0)
    data = np.concatenate([rng.uniform(2 * low, 2 * high, 4000), multiples, special]).astype(np.float32)
    constants: dict[str, Array] = {
        "low": np.asarray(low, np.float32),
        "high": np.asarray(high, np.float32),
        "divisor": np.asarray(divisor, np.float32),
    }
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["clamped"]),
        helper.make_node("Div", ["clamped", "divisor"], ["y"]),
    ]
    expected = np.clip(data, constants["low"], constants["high"]) / constants["divisor"]
    return Case(name, nodes, {"x": data}, constants, expected=(expected,), tolerance=0.0)


@pytest.mark.parametrize("target", ONE_OF_EACH)
def test_quotients_are_exact(target: str, tmp_path: Path) -> None:
    cases = [clamped(divisor, low, high) for divisor in DIVISORS for low, high in ((0.0, 6.0), (-1e4, 3e3))]
    assert not failures(cases, target, tmp_path)


@pytest.mark.parametrize(("bounded", "exact"), [(True, True), (False, False)])
def test_what_has_no_bounds_is_divided(bounded: bool, exact: bool) -> None:
    """Of infinity the multiply-adds would leave no number."""
    target, x = load_target("x86-64-v3"), te.placeholder((64,), name="x")
    inside = (lambda v: tirx.Max(tirx.Min(v, tirx.const(6.0)), tirx.const(0.0))) if bounded else lambda v: v
    result = te.compute(x.shape, lambda i: inside(x[i]) / tirx.const(7.0))
    made = schedule(te.create_prim_func([x, result], index_dtype_override="int64"), target)
    assert ("llvm.fma" in lower_kernel(made.func, "quotient", target).script()) == exact
