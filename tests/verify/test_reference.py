"""The references: onnxruntime where it is, onnx's evaluator where it is not, and a reason where neither will do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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


def test_a_file_is_read_again_and_the_model_in_memory_stands_in_for_one_out_of_order(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    other = convnet(width=7)
    onnx.save(other, tmp_path / "other.onnx")
    x = {"x": np.ones((1, 3, 9, 7), np.float32)}
    # The file is another model, to tell which of the two ran.
    name, results = run_reference(convnet(), x, tmp_path / "other.onnx")
    assert name.startswith("onnxruntime ")
    np.testing.assert_array_equal(results["y"], run_reference(other, x)[1]["y"])

    shuffled = convnet()
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(shuffled.graph.node)]
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(nodes)
    onnx.save(shuffled, tmp_path / "shuffled.onnx")
    name, results = run_reference(convnet(), {"x": X}, tmp_path / "shuffled.onnx")
    assert name.startswith("onnxruntime ")
    np.testing.assert_array_equal(results["y"], run_reference(convnet(), {"x": X})[1]["y"])
