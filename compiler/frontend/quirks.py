"""Forms of operators that TVM's converters accept but compute wrongly, or that fail to compile later.

Each is refused here with a reason; where the standard gives the operator a function body, that is expanded
instead. An entry goes when one of our own converters covers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from .graph import attributes_of
from .shapes import Types

Rule = Callable[[onnx.NodeProto, dict[str, Any], Types, dict[str, Any]], str | None]


def find_quirk(node: onnx.NodeProto, types: Types, constants: dict[str, Any]) -> str | None:
    """Why this form of the operator must not reach TVM's converter, or None.

    Args:
        constants: NumPy arrays of the graph's initializers by name.
    """
    rule = _RULES.get(node.op_type)
    if rule is None:
        return None
    attributes = attributes_of(node)
    return rule(node, attributes, types, constants)


def _reduce(node: onnx.NodeProto, attributes: dict[str, Any], types: Types, constants: dict[str, Any]) -> str | None:
    axes = constants.get(node.input[1]) if len(node.input) > 1 and node.input[1] else np.zeros(0)
    if not attributes.get("noop_with_empty_axes") or axes is None or axes.size:
        return None
    return "it reduces no axes, but changes single elements"


def _space_to_depth(node: onnx.NodeProto, attributes: dict[str, Any], *_: Any) -> str | None:
    return "only mode DCR is supported" if attributes.get("mode", b"DCR") != b"DCR" else None


def _layer_normalization(node: onnx.NodeProto, attributes: dict[str, Any], types: Types, *_: Any) -> str | None:
    return "TVM has none of float64" if types.get(node.input[0], (0,))[0] == onnx.TensorProto.DOUBLE else None


def _rms_normalization(
    node: onnx.NodeProto, attributes: dict[str, Any], types: Types, constants: dict[str, Any]
) -> str | None:
    shape = types.get(node.input[0], (0, None))[1]
    axis = attributes.get("axis", -1)
    return "it normalizes over all axes" if shape is not None and axis in (0, -len(shape)) else None


def _attention(node: onnx.NodeProto, attributes: dict[str, Any], *_: Any) -> str | None:
    known = {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap"}
    unknown = sorted(set(attributes) - known - {"softmax_precision"})
    return f"its attributes {', '.join(unknown)} are not supported" if unknown else None


_RULES: dict[str, Rule] = {
    "Attention": _attention,
    "LayerNormalization": _layer_normalization,
    "RMSNormalization": _rms_normalization,
    "SpaceToDepth": _space_to_depth,
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"), _reduce),
}
