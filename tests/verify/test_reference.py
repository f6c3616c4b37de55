"""The references: onnxruntime where it is, onnx's evaluator where it is not, and a reason where neither will do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compiler.verify import reference
from compiler.verify.reference import ReferenceError, run_reference
from tests.networks import convnet, elementwise

X = np.linspace(-1, 1, 243, dtype=np.float32).reshape(1, 3, 9, 9)


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find: Callable[[str], Any] = importlib.util.find_spec
    monkeypatch.setattr(reference.util, "find_spec", lambda name: None if name in names else find(name))


def test_without_onnxruntime_the_evaluator_of_onnx_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "onnxruntime")
    name, results = run_reference(convnet(), {"x": X})
    assert name.startswith("onnx.reference ")
    monkeypatch.undo()
    if importlib.util.find_spec("onnxruntime") is not None:
        other, expected = run_reference(convnet(), {"x": X})
        assert other.startswith("onnxruntime ")
        np.testing.assert_allclose(results["y"], expected["y"], rtol=1e-4, atol=1e-5)


def test_without_any_reference_the_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "onnxruntime", "onnx")
    with pytest.raises(ReferenceError, match="onnxruntime is not installed; onnx is not installed"):
        run_reference(elementwise(), {"x": np.ones((2, 3), np.float32)})


def test_inputs_that_no_reference_takes() -> None:
    with pytest.raises(ReferenceError, match="onnx"):
        run_reference(elementwise(), {"nothing": np.ones(1, np.float32)})
