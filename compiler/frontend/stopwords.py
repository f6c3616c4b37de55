"""StringNormalizer as far as it leaves letters alone: the words of a list without those that are not wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def without_stopwords(
    node: onnx.NodeProto, codes: Sequence[int], empty: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes and constants that compute a StringNormalizer on codes [words] or [1, words].

    Args:
        codes: of the words that are left out.
        empty: the code of the empty string, which is the result where nothing is left.
    """
    (words,), (result,) = node.input, node.output
    nodes: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []

    def constant(*values: int) -> str:
        tensors.append(numpy_helper.from_array(np.asarray(values, np.int64), f"{result}/constant{len(tensors)}"))
        return str(tensors[-1].name)

    def make(operator: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        name = into or f"{result}/{operator}{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], name=f"{node.name}/{operator}", **attributes))
        return name

    if not codes:
        make("Identity", words, into=result)
        return nodes, tensors
    unwanted = make("Equal", words, constant(codes[0]))
    for code in codes[1:]:
        unwanted = make("Or", unwanted, make("Equal", words, constant(code)))
    kept = make("Reshape", make("Not", unwanted), constant(-1))
    number = make("Cast", kept, to=onnx.TensorProto.FLOAT)
    nothing = make("Not", make("Cast", make("ReduceMax", number, keepdims=1), to=onnx.TensorProto.BOOL))
    # The empty string stands behind the words, in as many dimensions as they have.
    first = make("Slice", words, constant(0), constant(1), constant(-1))
    blank = make("Add", make("Mul", first, constant(0)), constant(empty))
    every = make("Concat", words, blank, axis=-1)
    make("Compress", every, make("Concat", kept, nothing, axis=0), into=result, axis=-1)
    return nodes, tensors
