"""ZipMap, which makes a list of dictionaries of a tensor: the tensor itself is what a device gives back."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from .graph import DEFAULT_DOMAINS

_OPSET = 17  # of Identity, in a model that imports ai.onnx.ml alone


def maps_to_tensors(model: onnx.ModelProto) -> bool:
    """Lets each ZipMap hand its tensor on, float32 [N, classes] in the order of the labels; outputs keep their names.

    Returns:
        Whether there is one.
    """
    made = set()
    for node in model.graph.node:
        if node.domain == "ai.onnx.ml" and node.op_type == "ZipMap":
            node.domain, node.op_type = "", "Identity"
            del node.attribute[:]
            made.update(node.output)
    for value in model.graph.output:
        if value.name in made:
            value.type.CopyFrom(onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    if made and not any(entry.domain in DEFAULT_DOMAINS for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", _OPSET))
    return bool(made)
