"""Which layer of a quantised model an artifact gets wrong.

Every layer is computed by itself: what it reads are the reference's 8-bit tensors, which become inputs of a model that
is compiled for this. So errors neither add up nor hide, and results are on the reference's steps but for a few.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ..errors import UserError
from ..process import CommandError
from .compare import MOST_APART, apart
from .execute import Executor, execute
from .reference import ReferenceError, run_reference

_MADE = "made/"  # before the name of a tensor that is computed here, beside the reference's
_ROUNDS = ("QuantizeLinear", "QLinear")
_EIGHT_BITS = (np.dtype(np.int8), np.dtype(np.uint8))

Feeds = Mapping[str, np.ndarray[Any, Any]]


def first_wrong_layer(
    proto: onnx.ModelProto, feeds: Feeds, compile_to: Callable[[onnx.ModelProto, Path], object], executor: Executor
) -> str | None:
    """In words, the first layer whose 8-bit result differs from the reference's, given the reference's before it.

    Args:
        compile_to: makes an artifact of a model, as the one that is in question was made.

    Returns:
        None if no layer does by itself, or if that cannot be found out.
    """
    tensors = _tensors(proto)
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    try:
        _, expected = run_reference(watched, feeds)
        expected = {name: array for name, array in expected.items() if array.dtype in _EIGHT_BITS and array.size}
        with tempfile.TemporaryDirectory(prefix="edgec-layers-") as folder:
            path = Path(folder) / "layers.so"
            compile_to(_apart(proto, expected), path)
            found = execute(executor, path, {**feeds, **expected})
    except (ReferenceError, UserError, CommandError):
        return None
    for name, wanted in expected.items():
        made = found[_MADE + name]
        if apart(made, wanted) > MOST_APART:
            steps = np.abs(made.astype(np.int16) - wanted)
            layer = tensors[name]
            return (
                f"{layer.op_type} {layer.name or layer.output[0]!r}: {np.mean(steps > 0):.2%} of {name!r} are on "
                f"other steps, up to {steps.max()} away"
            )
    return None


def _tensors(proto: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """8-bit tensors that depend on the model's inputs, in order, with the layer that each is the result of."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    varying = {value.name for value in proto.graph.input} - constants
    makers: dict[str, onnx.NodeProto] = {}
    found = {}
    for node in proto.graph.node:
        if varying.isdisjoint(node.input):
            continue
        varying.update(filter(None, node.output))
        makers.update(dict.fromkeys(node.output, node))
        if node.op_type.startswith(_ROUNDS):
            quantises = node.op_type == "QuantizeLinear"
            found[node.output[0]] = makers.get(node.input[0], node) if quantises else node
    return found


def _apart(proto: onnx.ModelProto, tensors: Feeds) -> onnx.ModelProto:
    """The model with these tensors as inputs, and as results of what makes them."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    for node in model.graph.node:
        node.output[:] = [_MADE + name if name in tensors else name for name in node.output]
    del model.graph.output[:]
    for name, array in tensors.items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        model.graph.input.append(helper.make_tensor_value_info(name, dtype, array.shape))
        model.graph.output.append(helper.make_tensor_value_info(_MADE + name, dtype, array.shape))
    others = [value for value in model.graph.value_info if value.name not in tensors]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    return model
