"""Maps, which no device holds, as the tensors that are behind them.

ZipMap makes a list of dictionaries of a tensor: the tensor itself is what the caller gets. DictVectorizer makes a row
of a dictionary that the caller gives: the row itself is what the caller gives then.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from .graph import DEFAULT_DOMAINS

_ML = "ai.onnx.ml"
_OPSET = 17  # of Identity, in a model that imports ai.onnx.ml alone


def maps_to_tensors(model: onnx.ModelProto) -> bool:
    """Puts tensors into the place of maps among the inputs and outputs, which keep their names.

    The result of a ZipMap becomes float32 [N, classes], in the order of its labels. A map that nodes DictVectorizer of
    one vocabulary read becomes a tensor [1, words] of the map's values, in the order of the vocabulary.

    Returns:
        Whether the model had any.
    """
    graph = model.graph
    made = {name for node in graph.node if node.op_type == "ZipMap" and node.domain == _ML for name in node.output}
    rows = _rows(graph)
    for value in graph.output:
        if value.name in made:
            value.type.CopyFrom(onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    for value in graph.input:
        if value.name in rows:
            elem_type = value.type.map_type.value_type.tensor_type.elem_type
            value.type.CopyFrom(onnx.helper.make_tensor_type_proto(elem_type, [1, rows[value.name]]))
    for node in graph.node:
        if made.intersection(node.output) or (node.op_type == "DictVectorizer" and node.input[0] in rows):
            node.domain, node.op_type = "", "Identity"
            del node.attribute[:]
    if (made or rows) and not any(entry.domain in DEFAULT_DOMAINS for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", _OPSET))
    return bool(made or rows)


def _rows(graph: onnx.GraphProto) -> dict[str, int]:
    """Inputs that are maps and may be rows, and how many numbers they have."""
    found = {}
    for value in graph.input:
        readers = [node for node in graph.node if value.name in node.input]
        words = [_vocabulary(node) for node in readers if node.op_type == "DictVectorizer" and node.domain == _ML]
        if value.type.HasField("map_type") and len(words) == len(readers) > 0 and words.count(words[0]) == len(words):
            found[value.name] = len(words[0])
    return found


def _vocabulary(node: onnx.NodeProto) -> list[bytes | int]:
    return [word for attribute in node.attribute for word in (*attribute.strings, *attribute.ints)]
