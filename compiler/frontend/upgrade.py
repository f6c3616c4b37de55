"""Brings old operator sets up to one that the converters know well."""

from __future__ import annotations

import onnx
import onnx.version_converter

from ..errors import UserError
from .check import opset_of

# From 13 on axes are inputs and Softmax works on one axis; TVM's converters follow those rules for
# older sets too, which would be silently wrong.
_OPSET = 13


def upgrade_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """The model in operator set 13 if it was older and only uses the default domain.

    Raises:
        UserError: onnx's version converter has no rule for a node.
    """
    if opset_of(model) >= _OPSET or any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"operator set {opset_of(model)} cannot be brought to {_OPSET}: {reason}",
            where,
            "export the model with operator set 13 or newer",
        ) from error
