"""How near an artifact of a quantised model must be to the reference of that model.

Between layers values are rounded to steps of 8 bits. A sum in another order rounds to the next step where it lies
between two, and in a deep model such steps add up to noise that says nothing of an artifact. How much it is shows the
reference itself, with scales that differ by a rounding. (Its own optimisations add more noise than that.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..frontend.quantised import MOVES
from .compare import MOST_APART, Difference, apart
from .reference import Arrays, ReferenceError, run_reference
from .similarity import snr_of

# Relative: some roundings of float32, as a sum of hundreds has.
_ROUNDING = 1e-6
# What the scales do: values between two steps are to go either way.
_WAYS = ((1,), (-1,), (-1, 1), (1, -1))
_ENOUGH = (
    40.0  # dB from which on an output passes whose noise is less: where few elements round otherwise, chance rules
)
_MARGIN = 6.0  # dB that an artifact may be noisier: twice the amplitude

Feeds = Mapping[str, np.ndarray[Any, Any]]


def with_steps(
    proto: onnx.ModelProto, differences: Sequence[Difference], results: Feeds, expected: Feeds
) -> list[Difference]:
    """Lets outputs pass nearly all of whose elements are on the reference's step, where the last one is known."""
    steps = _last_steps(proto)
    judged = []
    for one in differences:
        if one.reason is None and not one and one.name in steps:
            share = apart(results[one.name], expected[one.name], steps[one.name])
            if share <= MOST_APART:
                one = replace(one, tolerance=max(one.tolerance, one.error))
        judged.append(one)
    return judged


def with_noise(
    proto: onnx.ModelProto,
    feeds: Feeds,
    differences: Sequence[Difference],
    results: Feeds,
    expected: Arrays,
) -> list[Difference]:
    """Lets outputs pass that are as near to the reference as another right computation of the model is.

    Args:
        proto: the quantised model.
        differences: from `compare`; `results` and `expected` of all of them.
    """
    judged = with_steps(proto, differences, results, expected)
    for other in _others(proto, feeds):
        if all(judged):
            break
        judged = [_allowing(one, other[one.name], expected[one.name]) for one in judged]
    return judged


def _allowing(one: Difference, other: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> Difference:
    """With what another computation of an output differs by as a tolerance, if that is more."""
    if one.reason is not None or other.shape != expected.shape or expected.dtype.kind in "OU":
        return one
    if one.snr is not None:
        return replace(one, least_snr=min(one.least_snr, snr_of(other, expected) - _MARGIN, _ENOUGH))
    if expected.dtype.itemsize == 1 and expected.dtype.kind in "iu":
        return replace(one, tolerance=max(one.tolerance, 2 * apart(other, expected)))
    return replace(one, tolerance=max(one.tolerance, 2 * float(np.mean(other != expected))))


def _others(proto: onnx.ModelProto, feeds: Feeds) -> Iterator[Arrays]:
    """Other right results of a model, as far as there is something that computes them."""
    with contextlib.suppress(ReferenceError):
        for signs in _WAYS:
            yield run_reference(nudged(proto, signs), feeds)[1]


def nudged(proto: onnx.ModelProto, signs: Sequence[int]) -> onnx.ModelProto:
    """The model with scales that differ by a rounding of one of these signs, where values become 8-bit integers."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    rng = np.random.default_rng(0)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def factor() -> Any:
        return np.float32(1 + _ROUNDING * float(rng.choice(signs)))

    for number, node in enumerate(model.graph.node):
        place = _SCALES.get(node.op_type, len(node.input))
        scale = constants.get(node.input[place]) if place < len(node.input) else None
        if scale is not None:
            tensor = numpy_helper.from_array(numpy_helper.to_array(scale) * factor(), f"edgec/scale{number}")
            model.graph.initializer.append(tensor)
            node.input[place] = tensor.name
    return model


# By operator, which input is the scale of the result.
_SCALES = {
    "QuantizeLinear": 1,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QGemm": 7,
    "QLinearConcat": 0,
    "QLinearSigmoid": 3,
    "QLinearLeakyRelu": 3,
    "QLinearSoftmax": 3,
    "QLinearAveragePool": 3,
    "QLinearGlobalAveragePool": 3,
}


def _last_steps(proto: onnx.ModelProto) -> dict[str, float]:
    """The scale of outputs that were 8-bit tensors of one scale, and moved only; 1 of those that still are."""
    makers = {name: node for node in proto.graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    found = {}
    for output in proto.graph.output:
        node = makers.get(output.name)
        if output.type.tensor_type.elem_type in (onnx.TensorProto.UINT8, onnx.TensorProto.INT8):
            found[output.name] = 1.0
            continue
        while node is not None and node.op_type in MOVES and not node.domain:
            node = makers.get(node.input[0])
        if node is not None and node.op_type == "DequantizeLinear" and node.input[1] in constants:
            scale = numpy_helper.to_array(constants[node.input[1]])
            if scale.size == 1:
                found[output.name] = float(scale.reshape(()))
    return found
