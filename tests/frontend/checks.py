"""Preparing a model in tests: its results against the original's, and the messages of refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from compiler.errors import UserError
from compiler.frontend.prepare import PreparedModel, load_model, prepare, refuse
from compiler.verify.reference import run_reference
from tests.models import random_inputs

# Texts that only the authors of the libraries below can use.
INTERNALS = (
    "Traceback",
    "std::",
    "0x",
    ".cc:",
    ".cpp:",
    ".h:",
    ".py",
    "Check failed",
    "codec",
    "InferenceError",
)


def prepared(source: Any, shapes: dict[str, Any] | None = None) -> PreparedModel:
    """The prepared model; a UserError if any node cannot be compiled."""
    model = load_model(source)
    result = prepare(model, shapes)
    refuse(result.obstacles, model.name)
    return result


def run_prepared(result: PreparedModel, inputs: dict[str, Any]) -> dict[str, Any]:
    """Results of the prepared ONNX graph."""
    taken = {v.name for v in result.proto.graph.input}
    return run_reference(result.proto, {name: array for name, array in inputs.items() if name in taken})[1]


def same_results(proto: onnx.ModelProto, seed: int = 0, tolerance: float = 1e-5) -> PreparedModel:
    """Prepares a model and checks that the result computes what the model does."""
    result = prepared(proto)
    inputs = random_inputs(proto, seed)
    _, expected = run_reference(proto, inputs)
    results = run_prepared(result, inputs)
    for tensor in result.outputs:
        want, got = expected[tensor.name], np.asarray(results[tensor.name])
        assert (got.shape, got.dtype) == (want.shape, want.dtype) == (tensor.shape, np.dtype(tensor.dtype))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    return result


def check_message(error: UserError) -> None:
    """What is wrong, where, how to fix it; nothing about the insides of the libraries below."""
    assert error.what and error.where and error.fix, repr(error)
    assert not any(text in str(error) for text in INTERNALS), str(error)
    assert len(str(error)) < 6000


def refusal(source: Any, shapes: dict[str, Any] | None = None) -> str:
    """The message with which a model is refused."""
    with pytest.raises(UserError) as caught:
        prepared(source, shapes)
    check_message(caught.value)
    return str(caught.value)
