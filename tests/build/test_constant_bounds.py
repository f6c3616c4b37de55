"""Programs that make 8-bit integers are told how large their constants are, and no more than is true of every call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.build import constant_bounds
from compiler.frontend.prepare import load_model
from compiler.kernels.bounds import BOUNDS
from compiler.pipeline import lower_model, resolve
from tests.kernels import cases_integer
from tests.kernels.grid import failures
from tests.models import model, node


def quantising(scales: list[np.ndarray[Any, Any]]) -> Any:
    """Branches of one kernel, which gets other scales in each of them."""
    nodes, constants = [], {"one": np.float32(1), "zero": np.uint8(7)}
    for number, scale in enumerate(scales):
        constants[f"s{number}"] = scale
        nodes.append(node("Mul", f"x s{number}", f"m{number}"))
        nodes.append(node("QuantizeLinear", f"m{number} one zero", f"y{number}"))
    return model(nodes, {"x": [3, 40]}, [f"y{number}" for number in range(len(scales))], constants)


def noted(proto: Any, folder: Path) -> list[list[str]]:
    loaded = load_model(proto)
    options = resolve(loaded, "host", None, {}, False, None, True, "fp32", folder)
    programs = lower_model(loaded, options).programs.values()
    return [[str(name) for name in (program.attrs or {}).get(BOUNDS, [])] for program in programs]


def test_constants_are_told_by_parameter(tmp_path: Path) -> None:
    small, large = np.full(40, 0.01, np.float32), np.full(40, 1e9, np.float32)
    assert noted(quantising([small]), tmp_path) == [["", "small", ""]]
    assert noted(quantising([large]), tmp_path) == [[]]
    # One program serves all branches.
    assert noted(quantising([small, 2 * small, 100 * small]), tmp_path) == [["", "moderate", ""]]
    assert noted(quantising([small, large]), tmp_path) == [[]]


def test_wrong_bounds_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid of requantised results holds what does not fit 32 bits."""
    monkeypatch.setattr(constant_bounds, "class_of", lambda array: "small")
    cases = [case for case in cases_integer.requantised() if "(9, 21)" in case.name]
    assert failures(cases, "host", tmp_path)
