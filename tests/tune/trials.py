"""Small things to measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from compiler.build.cache import Cache
from compiler.build.objects import compile_kernels
from compiler.frontend.prepare import load_model
from compiler.kernels.rule import Decision
from compiler.pipeline import lower_model, resolve
from compiler.tune.subject import whole_model
from compiler.tune.trial import build_trial
from tests.networks import model


def small_network() -> onnx.ModelProto:
    """A convolution that may be computed in several ways, and a softmax: `x` [1, 3, 7, 7] → `y` [1, 392]."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Softmax", ["c"], ["s"], axis=1),
        onnx.helper.make_node("Flatten", ["s"], ["y"]),
    ]
    x, y = (onnx.helper.make_tensor_value_info(*of) for of in (("x", 1, [1, 3, 7, 7]), ("y", 1, [1, 392])))
    return model(nodes, [x], [y], [onnx.numpy_helper.from_array(weights, "w")])


def small_trial(folder: Path) -> Path:
    """A product by a constant, as it is by default, and with tiles of a single row."""
    weights = np.random.default_rng(0).standard_normal((24, 40)).astype(np.float32)
    x, y = (onnx.helper.make_tensor_value_info(*of) for of in (("x", 1, [17, 24]), ("y", 1, [17, 40])))
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    onnx.save(model(nodes, [x], [y], [onnx.numpy_helper.from_array(weights, "w")]), folder / "product.onnx")
    loaded = load_model(folder / "product.onnx")
    options = resolve(loaded, "host", None, None, False, None, True, tuning_logs=folder / "none")
    subject = whole_model(lower_model(loaded, replace(options, dump=None)), options.target, Cache())
    (name,) = subject.functions
    kernel = subject.kernels[name]
    decisions = {name: Decision(kernel.rule, {**kernel.parameters, "rows": 1})}
    made = compile_kernels(subject.functions, options.target, Cache(), decisions).kernels
    variants = [subject.variant({}), subject.variant(made)]
    return build_trial(variants, subject.inputs, subject.outputs, options.target, folder, Cache())
