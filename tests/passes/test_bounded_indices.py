"""Whatever indices a model gets, its kernels stay inside their tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax

from compiler.passes.bounded_indices import bound_indices
from compiler.target import load_target
from compiler.verify.execute import execute, find_executor
from tests.kernels.grid import Case, build, floats, one
from tests.passes.relax_modules import calls, module, operators

op = relax.op
DATA = ((5, 6, 3), "float32")
HOSTILE = [2**62, -(2**62), 2**31, -(2**31), 10**9, -(10**9), 7, -7, 5, -6, 3, -1, 0, 2]


def _modes(mod: Any) -> list[str]:
    return [str(call.attrs.mode) for call in calls(mod, "take")]


def test_a_gather_is_clipped() -> None:
    before = module([DATA, ((4,), "int64")], lambda x, i: op.take(x, i, 1, "fast"))
    assert _modes(bound_indices(before)) == ["clip"]


@pytest.mark.parametrize("mode", ["wrap", "clip"])
def test_a_safe_gather_stays(mode: str) -> None:
    before = module([DATA, ((4,), "int64")], lambda x, i: op.take(x, i, 1, mode))
    assert _modes(bound_indices(before)) == [mode]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_other_gathers_and_scatters_are_clamped(dtype: str) -> None:
    elements = module([DATA, ((5, 6, 3), dtype)], lambda x, i: op.gather_elements(x, i, 1))
    scatter = module([DATA, ((2, 2), dtype), ((2, 3), "float32")], lambda x, i, u: op.scatter_nd(x, i, u))
    for before in (elements, scatter):
        counts = operators(bound_indices(before))
        assert counts["minimum"] == counts["maximum"] == 1 and counts["where"] == 1


def test_constants_within_bounds_cost_nothing() -> None:
    good = relax.const(np.array([[0, 5], [4, 1]]), "int64")
    bad = relax.const(np.array([[0, 6], [4, 1]]), "int64")
    assert operators(bound_indices(module([DATA], lambda x: op.gather_nd(x, good)))) == {"gather_nd": 1}
    assert operators(bound_indices(module([DATA], lambda x: op.gather_nd(x, bad))))["minimum"] == 1


def _cases() -> list[Case]:
    x = floats("x", 5, 6, 3)
    i = np.array(HOSTILE)
    pairs = np.array([(a, b) for a in HOSTILE for b in HOSTILE[:3]])
    inside = np.zeros(i.shape, "int64")
    spread = np.resize(i, (5, 6, 3))
    several = i.reshape(7, 2, 1)[:5]
    weights = {"x": x}
    # References are asked with indices inside; the artifact runs with the hostile ones.
    return [
        *(one("Gather", f"gather_{axis}", {"x": x, "i": inside}, axis=axis) for axis in (0, 1, 2, -1)),
        one("Gather", "gather_table", {"i": inside}, weights, order=["x", "i"]),
        one("Gather", "gather_int32", {"x": x, "i": inside.astype("int32")}),
        one("GatherElements", "gather_elements", {"x": x, "i": np.zeros_like(spread)}, axis=1),
        one("GatherND", "gather_nd", {"x": x, "i": np.zeros_like(pairs)}),
        one("GatherND", "gather_nd_batch", {"x": x, "i": np.zeros_like(several)}, batch_dims=1),
        one("ScatterND", "scatter_nd", {"x": x, "i": np.zeros_like(pairs), "u": floats("u", len(pairs), 3)}),
        one(
            "ScatterElements",
            "scatter_elements",
            {"x": x, "i": np.zeros_like(spread), "u": floats("v", 5, 6, 3)},
            axis=0,
        ),
        one(
            "ScatterElements",
            "scatter_add",
            {"x": x, "i": np.zeros_like(spread), "u": floats("v", 5, 6, 3)},
            axis=2,
            reduction="add",
        ),
    ]


def test_hostile_indices_neither_crash_nor_read_other_memory(tmp_path: Path) -> None:
    cases = _cases()
    path = tmp_path / "model.so"
    _artifact, _expected, arrays = build(cases, "host", path)
    hostile = {}
    for name, array in arrays.items():
        if array.dtype.kind == "i":
            limit = np.iinfo(array.dtype)
            values = np.clip(np.array(HOSTILE, dtype="int64"), limit.min, limit.max)
            array = np.resize(values, array.shape).astype(array.dtype)
        hostile[name] = array
    host = load_target("host")
    results = execute(find_executor(host.os, host.machine, host), path, hostile)
    for number, case in enumerate(cases):
        result = results[f"c{number}_y"]
        known = [*case.inputs.values(), *case.constants.values()]
        values = np.concatenate([a.ravel() for a in known if a.dtype == "float32"])
        assert np.isfinite(result).all(), case.name
        if "add" not in case.name:
            assert np.isin(result, values).all(), f"{case.name} has values that are in no tensor"
