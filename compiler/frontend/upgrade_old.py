"""Brings operator sets 1 to 6 up to 7, where broadcasting became NumPy's.

Before, the second operand's axes were laid beside those of the first from an attribute on, sizes were attributes, and
some operators said which of their inputs they consumed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .check import opset_of
from .upgrade import Rewriter, Rule, take, upgrade_with

_NUMPY_BROADCASTING = 7  # the operator set that the rules here lead to


def upgrade_old_opset(model: onnx.ModelProto, where: str) -> None:
    """Rewrites a model of operator set 1 to 6, whose shapes are inferred, to 7; newer ones stay.

    Raises:
        UserError: a node uses what 7 has no counterpart for.
    """
    if opset_of(model) < _NUMPY_BROADCASTING:
        upgrade_with(model, _NUMPY_BROADCASTING, _rewrite, where)


def _rewrite(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Nodes of operator set 7 that do what one of an older set does."""
    take(node, "consumed_inputs")
    if node.op_type in _EXPERIMENTAL:
        raise rewriter.fail(node, "The experimental operator")
    rule = _RULES.get(node.op_type)
    return rule(rewriter, node) if rule else [node]


def _broadcast(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The second operand's axes stand at `axis` and after, by default at the end."""
    spreads, axis = take(node, "broadcast", 0), take(node, "axis")
    if not spreads or axis is None:
        return [node]
    left, right = (rewriter.shape(name) for name in node.input)
    if left is None or right is None:
        raise rewriter.fail(node, "Broadcasting along an axis, of values whose shapes depend on the data,")
    behind = len(left) - axis % max(len(left), 1) - len(right)
    return _with_axes_behind(rewriter, node, len(right), behind)


def _prelu(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A slope for each channel."""
    data, slope = (rewriter.shape(name) for name in node.input)
    if data is None or slope is None:
        raise rewriter.fail(node, "PRelu of values whose shapes depend on the data")
    per_channel = len(slope) == 1 and slope[0] != 1 and len(data) > 2
    return _with_axes_behind(rewriter, node, 1, len(data) - 2) if per_channel else [node]


def _with_axes_behind(rewriter: Rewriter, node: onnx.NodeProto, rank: int, count: int) -> list[onnx.NodeProto]:
    """The node, its second operand with `count` axes of size 1 behind its own."""
    if count < 1:
        return [node]
    wide = rewriter.name(node, "wide")
    axes = list(range(rank, rank + count))
    widened = onnx.helper.make_node("Unsqueeze", [node.input[1]], [wide], axes=axes)
    node.input[1] = wide
    return [widened, node]


def _gemm(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    take(node, "broadcast")
    return [node]


def _for_inference(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    if not take(node, "is_test", 0):
        raise rewriter.fail(node, f"{node.op_type} in training mode (is_test=0)")
    return [node]


def _cast(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    for attribute in node.attribute:
        if attribute.name == "to" and attribute.type == attribute.STRING:
            name = attribute.s.decode(errors="replace").upper()
            elem_type = dict(onnx.TensorProto.DataType.items()).get(name)
            if elem_type is None:
                raise rewriter.fail(node, f"Cast to {name!r}")
            attribute.CopyFrom(onnx.helper.make_attribute("to", elem_type))
    return [node]


def _concat(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    axis = take(node, "axis", 1)
    node.attribute.append(onnx.helper.make_attribute("axis", axis))
    return [node]


def _reshape(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    shape = take(node, "shape")
    if shape is None:
        return [node]
    constant = rewriter.constant(node, "shape", shape, np.int64)
    node.input.append(constant.output[0])
    return [constant, node]


def _pad(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    paddings = take(node, "paddings")
    if paddings is not None:
        node.attribute.append(onnx.helper.make_attribute("pads", paddings))
    return [node]


def _upsample(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    height, width = take(node, "height_scale"), take(node, "width_scale")
    if height is not None and width is not None:
        node.attribute.append(onnx.helper.make_attribute("scales", [1.0, 1.0, height, width]))
    return [node]


def _tile(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The first one repeats along one axis, and has both numbers in the type of its data."""
    if rewriter.opset > 5:
        return [node]
    shape = rewriter.shape(node.input[0])
    if shape is None:
        raise rewriter.fail(node, "Tile of a value whose shape depends on the data")
    made = [rewriter.constant(node, "axes", range(len(shape)), np.int64), rewriter.constant(node, "one", 1, np.int64)]
    axes, one = (constant.output[0] for constant in made)

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        made.append(onnx.helper.make_node(operator, inputs, [rewriter.name(node, operator)], **attributes))
        return str(made[-1].output[0])

    tiles, axis = (add("Cast", name, to=onnx.TensorProto.INT64) for name in node.input[1:])
    there = add("Cast", add("Equal", axes, axis), to=onnx.TensorProto.INT64)
    repeats = add("Add", one, add("Mul", there, add("Sub", tiles, one)))
    del node.input[1:]
    node.input.append(repeats)
    return [*made, node]


def _without_flag(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A result that is named is wanted."""
    take(node, "output_sequence")
    return [node]


def _power_of_norm(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    power = take(node, "p", 2.0)
    if power != int(power):
        raise rewriter.fail(node, f"{node.op_type} with p={power}")
    node.attribute.append(onnx.helper.make_attribute("p", int(power)))
    return [node]


def _selu(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Its defaults had fewer digits."""
    for name, default in (("alpha", 1.6732), ("gamma", 1.0507)):
        value = take(node, name, default if rewriter.opset < 6 else None)
        if value is not None:
            node.attribute.append(onnx.helper.make_attribute(name, value))
    return [node]


def _inputs_of_newer_sets(most: int) -> Rule:
    """Operators whose further inputs mean something else than in newer sets."""

    def rule(rewriter: Rewriter, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        if len(node.input) > most:
            raise rewriter.fail(node, f"{node.op_type} with {len(node.input)} inputs")
        return [node]

    return rule


_EXPERIMENTAL = frozenset(
    (
        "ATen",
        "Affine",
        "ConstantFill",
        "Crop",
        "DynamicSlice",
        "GRUUnit",
        "GivenTensorFill",
        "ImageScaler",
        "ParametricSoftplus",
        "Scale",
        "ScaledTanh",
    )
)
_BROADCASTING = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_BROADCASTING, _broadcast),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _without_flag),
    "BatchNormalization": _for_inference,
    "Cast": _cast,
    "Concat": _concat,
    "Dropout": _for_inference,
    "Gemm": _gemm,
    "GlobalLpPool": _power_of_norm,
    "LpPool": _power_of_norm,
    "PRelu": _prelu,
    "Pad": _pad,
    "Reshape": _reshape,
    "Selu": _selu,
    "Split": _inputs_of_newer_sets(1),
    "Tile": _tile,
    "Upsample": _upsample,
}
